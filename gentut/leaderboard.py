"""The results page's one table: every published network that draws, beside every other.

Nothing is measured here, and no number is typed. All come from files that were written when something was measured:
the card beside each network's weights (gentut/published), and two records in benchmarks/results. `sampling-DEVICE` says
what drawing costs, and what the pictures are like where no card does (benchmarks/sampling.py); `seeds-DEVICE` has the
same settings trained from other seeds (benchmarks/seeds.py). A record of other weights or settings than the published
ones is left out. `gentut reproduce --all` makes the networks again.
"""

import statistics
from dataclasses import dataclass

from gentut import Error, checkpoints, choose, metrics
from gentut.figures import Table

# What was modelled. Nats are comparable within one of the first three only.
GREYS, BLACK_AND_WHITE, GREY, PICTURES = (
    "256 greys", "black and white", "grey, by cross-entropy", "pictures, without a likelihood")
NBSP = "\N{NO-BREAK SPACE}"
MODELLED = (GREYS, BLACK_AND_WHITE, GREY, PICTURES)
NUMBERS = ("frechet", "floor", "ratio", "precision", "recall", "n")  # of a likeness, as the tables show them


@dataclass(frozen=True)
class Spread:
    """A number over seeds: how many, their mean and their sample standard deviation (None of one seed)."""

    n: int
    mean: float
    deviation: float | None

    def text(self, digits):
        """As "152.6 ± 0.7", or the number alone where there is one seed."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.deviation is None else f"{mean}{NBSP}±{NBSP}{self.deviation:.{digits}f}"


@dataclass(frozen=True)
class Entry:
    """One network: its card and what the records have of it."""

    name: str
    card: dict
    sampling: dict  # its row in sampling-DEVICE; empty where these weights were not measured
    others: tuple = ()  # its rows in seeds-DEVICE: the same settings from other seeds

    @property
    def test(self):
        """What its card says of the full test set, or of 10,000 pictures that it drew."""
        return self.card["metrics"]["test"]

    @property
    def modelled(self):
        """Of what its number in nats is: one of MODELLED."""
        family, config = self.card["family"], self.card["config"]
        if family == "pixelcnn":
            return BLACK_AND_WHITE if config["levels"] == 2 else f"{config['levels']} greys"
        if family == "vae":
            return BLACK_AND_WHITE if config["binary"] else GREY
        return PICTURES

    @property
    def nats(self):
        """Nats per image of the test pictures, or None."""
        return self.test.get("nats")

    @property
    def bits_per_dim(self):
        """The same in bits per pixel, where the pixels that were modelled are whole numbers; else None."""
        return None if self.modelled in (GREY, PICTURES) else metrics.nats_to_bits_per_dim(self.nats)

    @property
    def meaning(self):
        """What the nats are: -log p(x) itself, a bound above it, or no likelihood at all."""
        if self.modelled == PICTURES:
            return None
        if self.card["family"] == "pixelcnn":
            return "exact"
        if not self.card["config"]["noise"]:
            return "reconstruction alone"
        return "bound" if self.modelled == BLACK_AND_WHITE else "no likelihood"

    @property
    def tighter(self):
        """(nats, codes) of the importance-weighted bound, or None."""
        found = self.test.get("importance_weighted_nats")
        return None if found is None else (found, self.test["k"])

    @property
    def grey_floor(self):
        """The least that the cross-entropy of grey pictures can be, in nats per image; None for all others."""
        return self.test["floor"] if self.modelled == GREY else None

    @property
    def likeness(self):
        """What 10,000 pictures that it drew are like, or an empty dict: see metrics.likeness.

        Pictures of a network of black and white ones are compared with real digits that are black and white, too.
        """
        return _likeness(self.test, self.sampling, self.modelled)

    @property
    def seeds(self):
        """How many runs with these settings were measured: the published one and the others."""
        return 1 + len(self.others)

    @property
    def runs(self):
        """(seed, test, likeness, seconds) of the published run and the others."""
        found = [(self.card["seed"], self.test, self.likeness, self.card["seconds"])]
        for row in self.others:
            test = row["metrics"]["test"]
            found.append((row["seed"], test, _likeness(test, row["metrics"], self.modelled), row["seconds"]))
        return found

    def spread(self, key):
        """A quantity over the seeds: "nats" or another of the card's test, or one of the likeness. None if unknown."""
        found = [test if key in test else like for _, test, like, _ in self.runs]
        values = [numbers[key] for numbers in found if key in numbers]
        if not values:
            return None
        return Spread(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    @property
    def headline(self):
        """Its first number over the seeds as words: nats where it has them, else the Fréchet ratio."""
        key, unit, digits = ("nats", "nats", 1) if self.nats is not None else ("ratio", "× the floor", 2)
        found = self.spread(key)
        return None if found is None else f"{found.text(digits)} {unit}"


def _likeness(test, measured, modelled):
    """The likeness that is on a card, or in what was measured beside it: the one against digits of the same kind."""
    key = "likeness_black_and_white" if modelled == BLACK_AND_WHITE else "likeness"
    return test if "ratio" in test else measured.get(key, {})


# ------------------------------------------------------------------------------------------------------------- reading


def entries(device="cpu"):
    """All published networks that draw, grouped by what was modelled, the best of each group first.

    device: on which sampling was timed and other seeds were trained: "cpu" or "cuda".
    """
    timed = _record(f"sampling-{device}").get("networks", {})
    trained = _record(f"seeds-{device}").get("networks", {})
    found = []
    for name in checkpoints.names():
        card = checkpoints.card(name)
        if card["family"] == "classifier":  # it judges
            continue
        row, seeds = timed.get(name, {}), trained.get(name, {})
        same = row.get("sha256") == card["sha256"]
        rows = seeds["rows"] if seeds.get("config") == card["config"] else []
        found.append(Entry(name, card, row if same else {}, tuple(rows)))
    return sorted(found, key=lambda e: (MODELLED.index(e.modelled), e.nats or e.likeness.get("ratio", 1e9), e.name))


def entry(name, device="cpu"):
    """The entry of one network. Raises Error for an unknown name."""
    found = {each.name: each for each in entries(device)}
    return found[choose("network", name, found)]


def machine(device="cpu"):
    """On what drawing was timed, in words."""
    record = _record(f"sampling-{device}")
    if not record:
        raise Error(f"nothing was timed on {device}: python benchmarks/sampling.py does it")
    about = record["machine"]
    clocks = sorted({row["clock"] for row in record["networks"].values()})
    clock = {"cpu": "processor time", "wall": "wall time"}
    threads = f"{about['threads']} thread" + "s" * (about["threads"] > 1)
    return f"{about.get('gpu') or about['cpu'] + ', ' + threads}; fp32; {' and '.join(clock[c] for c in clocks)}"


def real_black_and_white(device="cpu"):
    """What real test digits are like once they are black and white, as a dict: see metrics.likeness."""
    return _record(f"sampling-{device}").get("real_black_and_white", {})


def _record(name):
    try:
        return checkpoints.measured(name)
    except Error:
        return {}  # not measured: the table has dashes there


# -------------------------------------------------------------------------------------------------------------- tables


def table(device="cpu"):
    """Everything in one Table: its columns are grouped by the question that they answer."""
    rows = []
    for e in entries(device):
        in_column = [e.nats if e.modelled == one else None for one in (GREYS, BLACK_AND_WHITE, GREY)]
        like = [e.likeness.get(k) for k in ("frechet", "floor", "precision", "recall")]
        cost = [e.card["parameters"], round(e.card["seconds"]), e.card["device"], e.sampling.get("seconds_per_1000")]
        rows.append([e.name, *in_column, e.grey_floor, e.bits_per_dim, e.meaning, *like, *cost, e.seeds, e.headline])
    headings = ["network", "256 greys", "black and white", "grey", "its floor", "bits/dim", "what it is",
                "Fréchet", "its floor", "precision", "recall", "weights", "training, s", "on", "s per 1,000", "n",
                "mean ± deviation"]
    groups = [("", 1), ("nats per image, by what was modelled", 6), ("10,000 drawn pictures", 4), ("cost", 4),
              ("seeds", 2)]
    return Table(headings, rows, groups=groups,
                 digits=[0, 1, 1, 1, 1, 3, 0, 2, 2, 2, 2, 0, 0, 0, 3, 0, 0])


def likelihoods(modelled=None):
    """How probable the test pictures are: of one of MODELLED, or of the first three."""
    wanted = MODELLED[:3] if modelled is None else (choose("thing modelled", modelled, MODELLED[:3]),)
    rows = []
    for e in entries():
        if e.modelled in wanted:
            meaning = e.meaning
            if e.tighter:
                meaning += f"; {e.tighter[0]:.1f} with {e.tighter[1]:,} codes"
            pictures = None if modelled else e.modelled
            rows.append([e.name, pictures, e.nats, e.test["standard_error"], e.grey_floor, e.bits_per_dim, meaning,
                         e.test["n"], e.seeds, e.spread("nats").text(1)])
    headings = ["network", "test pictures", "nats per image", "standard error", "grey floor", "bits/dim", "what it is",
                "n", "seeds", "mean ± deviation"]
    return _without_empty(Table(headings, rows, digits=[0, 0, 1, 2, 1, 3, 0, 0, 0, 0]))


def likeness(device="cpu"):
    """What the drawn pictures are like, the nearest to real digits first, and what a thousand cost."""
    rows = []

    def add(name, against, found, calls=None, seconds=None, seeds=None, spread=None):
        rows.append([name, against, calls, *(found.get(k) for k in NUMBERS), seeds, spread, seconds])

    for e in entries(device):
        calls, seconds = e.sampling.get("calls"), e.sampling.get("seconds_per_1000")
        if e.likeness:
            kind = "black and white" if e.modelled == BLACK_AND_WHITE else "grey"
            add(e.name, kind, e.likeness, calls, seconds, e.seeds, e.spread("ratio").text(2))
    if real := real_black_and_white(device):
        add("real digits, black and white", "grey", real)
    rows.sort(key=lambda row: row[5])
    headings = ["pictures of", "against digits", "calls", "Fréchet", "floor", "ratio", "precision", "recall", "n",
                "seeds", "ratio, mean ± deviation", "s per 1,000"]
    return Table(headings, rows, digits=[0, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0, 3])


def costs(device="cpu"):
    """What each network took: weights, steps, training time and device, and drawing."""
    rows = [[e.name, e.card["parameters"], e.card["bytes"] / 1e6, e.card["steps"], round(e.card["seconds"]),
             e.card["device"], e.sampling.get("calls"), e.sampling.get("seconds_per_1000")] for e in entries(device)]
    headings = ["network", "weights", "MB", "steps", "training, s", "on", "calls a picture", "s per 1,000"]
    return Table(headings, rows, digits=[0, 0, 2, 0, 0, 0, 0, 3])


def seeds():
    """Every seed that was measured, of the networks that have more than one."""
    rows = [[e.name, seed, test.get("nats"), *(like.get(k) for k in ("ratio", "precision", "recall")), round(seconds),
             "published" if seed == e.card["seed"] else ""]
            for e in entries() if e.others for seed, test, like, seconds in e.runs]
    return Table(["network", "seed", "nats", "Fréchet ratio", "precision", "recall", "training, s", ""], rows,
                 digits=[0, 0, 1, 2, 2, 2, 0, 0])


def _without_empty(full):
    """The Table without columns that say nothing."""
    kept = [i for i in range(len(full.headings)) if any(row[i] is not None for row in full.rows)]
    rows = [[row[i] for i in kept] for row in full.rows]
    return Table([full.headings[i] for i in kept], rows, digits=[full.digits[i] for i in kept])
