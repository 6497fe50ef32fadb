"""The chapters as files: clean, readable without Sphinx, with all their bones, and telling no number from memory."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gentut import checkpoints, data, figures, vae, widgets

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
# Notebooks that are chapters, with the number that their equations start with.
CHAPTERS = {"probability": 1, "information": 2, "variational": 3,
            "markov": 4, "pixelcnn": 5, "vae": 6, "gan": 7, "diffusion": 8, "ddpm": 9}
TRAINING = {"ddpm", "gan", "pixelcnn", "vae"}  # chapters that train a network

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
every_chapter = pytest.mark.parametrize("name", CHAPTERS)


def cells(path, kind=None):
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if kind in (None, c["cell_type"])]


def source(cell):
    return "".join(cell["source"])


def prose(path):
    """All Markdown of a notebook without code blocks, one text."""
    return re.sub(r"```.*?```", "", "\n\n".join(source(c) for c in cells(path, "markdown")), flags=re.DOTALL)


def chapter(name):
    return ROOT / "book" / f"{name}.ipynb"


def test_there_are_notebooks_and_every_chapter_is_one():
    assert {p.stem for p in NOTEBOOKS} >= set(CHAPTERS)


# -------------------------------------------------------------------------------------------------------------- hygiene


@every_notebook
def test_committed_notebooks_are_valid_and_hold_no_results(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({c["id"] for c in notebook["cells"]}) == len(notebook["cells"])
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]


def test_nbstripout_finds_nothing_to_strip():
    command = [sys.executable, "-m", "nbstripout", "--keep-id", "--verify", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


MYST_ONLY = {
    "a directive": r"^\s*(`{3,}|:{3,})\s*\{",
    "a role": r"\{[a-zA-Z:_+-]+\}`",
    "a target": r"^\([\w-]+\)=\s*$",
    "a block break": r"^\+\+\+",
    "a comment": r"^%\s",
    "an equation label": r"\$\$\s*\([\w:-]+\)",
    "a substitution": r"\{\{.*\}\}",
    "a footnote": r"\[\^[\w-]+\]",
}


@pytest.mark.parametrize("what", MYST_ONLY)
@every_notebook
def test_nothing_in_a_notebook_needs_sphinx(path, what):
    for cell in cells(path, "markdown"):
        found = re.search(MYST_ONLY[what], source(cell), re.MULTILINE)
        assert not found, f"{what} in {cell['id']}: {found.group(0)!r}"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a directive", "```{note}\nx\n```"),
        ("a directive", ":::{tip}"),
        ("a role", "see {doc}`intro`"),
        ("a role", "{cite:p}`kingma`"),
        ("a target", "(here)=\n# Title"),
        ("a block break", "+++"),
        ("an equation label", "$$ x = 1 $$ (eq-1)"),
        ("a substitution", "{{ version }}"),
        ("a footnote", "as is known[^1]"),
        ("a comment", "% nothing"),
    ],
)
def test_the_search_for_myst_finds_it(what, text):
    assert re.search(MYST_ONLY[what], text, re.MULTILINE)


@every_notebook
def test_html_boxes_and_folds_are_closed(path):
    for cell in cells(path, "markdown"):
        for tag in ("div", "details", "summary", "p", "ul", "ol", "li"):
            text = source(cell)
            opened, closed = len(re.findall(rf"<{tag}[\s>]", text)), text.count(f"</{tag}>")
            assert opened == closed, f"{cell['id']}: {opened} <{tag}>, {closed} </{tag}>"


@every_notebook
def test_no_formula_stands_in_an_html_list_where_the_page_would_not_draw_it(path):
    """In a list written as HTML a symbol is <em>z</em>."""
    assert not [line for line in prose(path).splitlines() if line.startswith("<li>") and "$" in line]


# ---------------------------------------------------------------------------------------------------------------- bones


@every_chapter
def test_a_chapter_has_all_its_bones(name):
    path = chapter(name)
    text = prose(path)
    headings = re.findall(r"^(#{1,2}) (.+)$", text, re.MULTILINE)
    assert [h for h in headings if h[0] == "#"] == headings[:1], "one title, at the top"
    titles = [title for level, title in headings if level == "##"]
    wanted = ["Break it", "Exercises", "What the notes got wrong", "Summary", "Further reading"]
    assert [t for t in titles if t in wanted] == wanted
    code = [source(c) for c in cells(path, "code")]
    first_formula = next(i for i, c in enumerate(cells(path)) if "$$" in source(c))
    names = "|".join(name for name in widgets.__all__ if name != "pack")
    shown = [i for i, c in enumerate(cells(path)) if re.search(rf"\b({names})(\.from_|\()", source(c))]
    assert shown[0] < first_formula, "a widget comes before the first formula"
    assert '<div class="admonition note">\n<p class="admonition-title">What you will be able to do</p>' in source(
        cells(path)[1]
    )
    assert name not in TRAINING or any("learning_curves(" in c for c in code)
    checked = len(re.findall(r"^check\(", "\n".join(code), re.MULTILINE))
    exercises = text.split("\n## Exercises\n")[1].split("\n## What the notes got wrong\n")[0]
    questions = len(re.findall(r"<summary>\d+\. ", exercises))
    assert checked >= 3 and checked + questions >= 6 and checked >= questions / 2
    assert text.count("<summary>Solution</summary>") == checked and text.count("<summary>Hint") >= checked
    assert "**Predict" in text


@every_notebook
def test_the_first_code_cell_installs_in_colab_only(path):
    url = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    cell = f'import sys\n\nif "google.colab" in sys.modules:\n    %pip install --quiet "gentut @ git+{url}"'
    assert source(cells(path, "code")[0]) == cell


@every_chapter
def test_equations_are_numbered_in_order_and_referred_to_rightly(name):
    text, number = prose(chapter(name)), CHAPTERS[name]
    tags = re.findall(r"\\tag\{([\d.]+)\}", text)
    assert tags == [f"{number}.{k + 1}" for k in range(len(tags))] and len(tags) >= 5
    for reference in re.findall(rf"\(({number}\.\d+)\)", re.sub(r"\\tag\{.*?\}", "", text)):
        assert reference in tags, f"({reference}) is no equation"
    for block in re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL):
        assert r"\tag{" in block, f"a displayed equation without a number: {block.strip()[:60]}"


DRAWS = re.compile(r"plt\.(subplots|figure|plot|show)|figures\.(tiles|strips|codes|learning_curves)\(")


@every_notebook
def test_every_picture_has_a_description(path):
    drawn = 0
    for cell in cells(path, "code"):
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        if DRAWS.search(source(cell)):
            drawn += 1
            assert len(alt) >= 40, f"{cell['id']} draws and has no description: {alt!r}"
        else:
            assert not alt, f"{cell['id']} has a description and draws nothing"
    assert drawn


@every_notebook
def test_every_training_cell_says_what_it_costs(path):
    cost = re.compile(r"\A# cost: about \d+ s on 2 CPU cores\n")
    for cell in cells(path, "code"):
        if re.search(r"\b\w+\.train\(", source(cell)):
            assert cost.search(source(cell)), f"{cell['id']} trains and does not begin with what it costs"


@every_notebook
def test_what_a_training_cell_says_it_costs_was_measured(path):
    """benchmarks/chapters.py measures and writes the labels; its record is the only source."""
    measured = checkpoints.measured("chapters-cpu")["notebooks"].get(path.stem)
    assert measured, f"run python benchmarks/chapters.py {path.stem}"
    said = {cell["id"]: int(found[1]) for cell in cells(path, "code")
            if (found := re.match(r"# cost: about (\d+) s on 2 CPU cores\n", source(cell)))}
    assert said == {name: max(1, round(seconds)) for name, seconds in measured["cells"].items()}


# --------------------------------------------------------------------------------------------------- claims and sources


@every_notebook
def test_every_paper_is_in_the_list_of_references(path):
    listed = set(re.findall(r"https?://[^\s)>]+", (ROOT / "book" / "references.md").read_text(encoding="utf-8")))
    papers = set(re.findall(r"https?://(?:arxiv|openreview)[^\s)>]+", prose(path)))
    assert papers <= listed
    for label, address in re.findall(r"\[arXiv:([\d.]+)\]\(https://arxiv.org/abs/([\d.]+)\)", prose(path)):
        assert label == address


def test_every_paper_in_the_list_says_what_it_is_for():
    text = (ROOT / "book" / "references.md").read_text(encoding="utf-8")
    for label, address in re.findall(r"\[arXiv:([\d.]+)\]\(https://arxiv.org/abs/([\d.]+)\)", text):
        assert label == address
    for entry in re.findall(r"^- (.+?)(?=^- |^#|\Z)", text, re.MULTILINE | re.DOTALL):
        after = re.split(r"\)\.|3\.0\.", entry.replace("\n", " "))[-1]
        assert len(after.strip()) > 20, f"what is it for? {entry[:60]}"


RESULT = re.compile(
    r"(?<![\w.])\d+(\.\d+)?\s*(%|percent|per cent)|"  # shares
    r"(?<![\w.])(\d+\.\d+|\d{3,})(\s*(nats|bits|seconds|ms\b)|\s+s\b)|"  # measurements
    r"(?<![\w.,-])\d[\d,]*\.\d+(?![.\w])|"  # anything else with decimals, "2.21 times" or "113.5"
    r"±"
)
# Numbers with decimals that are no results: settings, definitions, tested thresholds, the questions' own facts.
STATED = {
    "ddpm": ("section 3.2", "the mean grey is above 0.4", "with up to 0.02 leaves"),
    "diffusion": (
        "from 0.0001 to 0.02 in 1000 steps", "from 0.00001 to 0.005, in 100 steps", "standard deviation 0.1 is added",
        "more than 1.5 times as far", "less than 0.8 of the healthy", "from 0.0001 to 0.02 and goes", "is about 0.6:"),
    "gan": ("more than 1.2 times as much", "the mean grey of the samples is above 0.4", "a factor of about 1.4,"),
    "information": ('a "loss of 1.3" means nothing',),
    "markov": ("probability 0.7 and a hamburger with probability 0.3", "with probability 0.8 there is"),
    "notation": ("the number 3.14…",),
    "pixelcnn": ("a pixel of grey 0.7 is white",),
    "probability": (
        "0.6 times the density of one lump plus 0.4 times", "with probability 0.6 or 0.4,", "0.3 of them red",
        "With probability 0.8 the ball", "red with probability 0.3,", "itself with probability 0.5)",
        "off by more than 0.2,", "Add 0.1 ten times"),
    "README": ("Python 3.11", "3.12 and 3.13 are tried"),
    "vae": (
        "the one at phase 0.55", "not 140 nats above perfection", "learning rate 0.001", "from −1.645 to 1.645 on",
        "over pictures is above 0.01"),
    "variational": ("mean 0.001 and a noise of 0.001,", "rose by 6.9 overnight", "No. 6.9 is about"),
}
TOLD = [*NOTEBOOKS, *sorted((ROOT / "book").glob("*.md")), ROOT / "README.md"]


def told(path):
    """What a page tells in words, on one line: no code, formulas, addresses or numbers of equations; no made tables."""
    text = prose(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    text = re.sub(r"```.*?```|<!-- (\w+): made by .*?<!-- end of \1 -->", " ", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`|<[^>]+>", " ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)|arXiv:[\d.]+|doi:\S+|CC BY(-SA)? \d\.\d|\((\d\.\d+(, | and | to )?)+\)", " ", text)
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("path", TOLD, ids=lambda p: p.stem)
def test_no_result_is_typed_into_prose(path):
    text = told(path)
    for phrase in STATED.get(path.stem, ()):
        text = text.replace(phrase, " ")
    found = RESULT.search(text)
    assert not found, (f"{text[max(0, found.start() - 60) : found.end() + 20]!r}: let a cell compute it "
                       "(a setting, a definition or a tested threshold goes into STATED)")


def test_every_stated_number_is_there():
    """A phrase that nobody says any more would one day excuse another."""
    for path in TOLD:
        text = told(path)
        assert not [phrase for phrase in STATED.get(path.stem, ()) if phrase not in text], path.stem
    assert STATED.keys() <= {path.stem for path in TOLD}


@pytest.mark.parametrize("text", [
    "costs 131.9 nats", "about 12 % of them", "in 3.5 s", "131 ± 2", "2.21 times the floor", "a loss of 113.5",
    "(12 %)", "it needs 113 nats", "after 2041 s", "after 120 seconds", "1,234.5 of them", "a ratio (2.2)",
    "from 2.6 to 5.5"])
def test_the_search_for_typed_results_finds_them(text):
    assert RESULT.search(text)


@pytest.mark.parametrize("text", ["in the 1960s", "28 x 28", "with 1,000 codes", "5 nats", "epoch 20", "1 s a year."])
def test_the_search_for_typed_results_leaves_the_rest(text):
    assert not RESULT.search(text)


def test_the_symptoms_of_break_it_pass_their_stated_thresholds():
    """The chapter's own cell, run at scale test: what the text says of each bug is true of it."""
    cell = next(c for c in cells(chapter("vae"), "code") if c["id"] == "break-table")
    import torch

    test = data.to_unit(data.load("mnist-mini").test_images)

    def both_terms(net, pictures):
        terms = vae.elbo_terms(net, pictures, generator=torch.Generator().manual_seed(0))
        return [term.mean().item() for term in terms]

    scope = {"vae": vae, "torch": torch, "figures": figures, "both_terms": both_terms, "test": test, "scale": "test"}
    exec(source(cell), scope)
    names = ("nats", "drawn", "kl", "cost_of_noise", "smallest_mu", "smallest_sigma")
    of = {name: dict(zip(names, numbers, strict=True)) for name, numbers in scope["symptoms"].items()}
    healthy, averaged, no_noise, relu = of.values()
    assert list(of) == ["healthy", "KL averaged", "no noise", "ReLU after encoder"]

    text = source(next(c for c in cells(chapter("vae"), "markdown") if c["id"] == "break-read"))
    for stated in ("more than twice", "more\nthan 10 nats", "fewer than 5", "more than 5 nats"):
        assert re.sub(r"\s", " ", stated) in re.sub(r"\s", " ", text)
    assert averaged["kl"] > 2 * healthy["kl"]
    assert no_noise["cost_of_noise"] > 10 > 5 > healthy["cost_of_noise"]
    assert relu["smallest_mu"] >= 0 and relu["smallest_sigma"] >= 1 and relu["nats"] > healthy["nats"] + 5
    assert healthy["smallest_mu"] < -1 and healthy["smallest_sigma"] < 0.5  # not so in the healthy one


def play(name, *ids, scale="test"):
    """Run some code cells of a chapter, one after the other, at a scale; return the names that they leave."""
    import matplotlib

    scope = {}
    with matplotlib.rc_context():
        for wanted in ids:
            cell = next(c for c in cells(chapter(name), "code") if c["id"] == wanted)
            exec(compile(source(cell), f"{name}: {wanted}", "exec"), scope)
            scope["scale"] = scale
        scope["plt"].close("all")
    return scope


def text_of(name, cell_id):
    """A Markdown cell as one line."""
    return re.sub(r"\s+", " ", source(next(c for c in cells(chapter(name), "markdown") if c["id"] == cell_id)))


def test_the_symptoms_of_the_pixelcnn_chapter_pass_their_stated_thresholds():
    """Each bug is planted by the chapter's own cells: what the text says of it is true of it."""
    got = play("pixelcnn", "setup", "untrained", "break-train", "break-mask", "break-order", "break-score")
    leak, gap, kinder = got["leak"], got["gap"], got["kinder"]

    stated = text_of("pixelcnn", "break-mask-read")
    assert "fewer than 5 nats, where the healthy network needs more than 25" in stated
    assert "more than 95 of 100 pixels" in stated
    assert leak["mask B"][0] < 5 and leak["healthy"][0] > 25
    assert min(leak["mask B"][1:]) > 0.95
    assert 0.2 < leak["healthy"][2] < 0.8  # over noise: the healthy network's pixels have nothing to do with it
    drawn = [got["drawn_from"]["healthy", kind] for kind in ("black", "noise")]
    assert drawn[0].equal(drawn[1])  # "draws the same digits from both"

    stated = text_of("pixelcnn", "break-order-read")
    assert "both accounts agree to a thousandth of a nat" in stated
    assert "by columns a picture differs by more than 1 nat, from below by more than 4" in stated
    assert gap["as trained"] < 0.001 and gap["by columns"] > 1 and gap["from below"] > 4

    stated = text_of("pixelcnn", "break-score-read")
    assert "the score falls by more than 2 nats" in stated and "gains less than 1 nat" in stated
    assert "the worst of the three, by more than 2 nats" in stated
    (healthy, same), (sharp, sharp_fixed), (grey, grey_fixed) = (kinder[k] for k in ("healthy", "thresholded", "grey"))
    assert healthy == pytest.approx(same, abs=1e-3)
    assert sharp < healthy - 2 and kinder["healthy on thresholded"] < healthy - 2
    assert sharp_fixed > healthy - 1
    assert grey < sharp and grey_fixed > max(healthy, sharp_fixed) + 2


def test_what_the_pixelcnn_chapter_says_of_a_few_bits_is_true():
    got = play("pixelcnn", "setup", "bars", "made-fit")
    extra = {(world, name): d for world, name, _, _, _, d in got["rows"]}
    assert all(total == "1.000000" for _, _, total, *_ in got["rows"])  # "The sum is 1 always, trained or not"
    assert extra["even", "FVBN, trained"] == pytest.approx(math.log(2), abs=1e-4)  # "it learns nothing at all"
    assert extra["even", "MADE, trained"] < 0.05 and extra["bars and stripes", "MADE, trained"] < 0.05
    assert extra["bars and stripes", "MADE, trained"] < extra["bars and stripes", "FVBN, trained"] < 0.5
    assert extra["bars and stripes", "FVBN, untrained"] == pytest.approx(math.log(512 / 14), abs=1e-4)


def test_what_the_pixelcnn_chapter_says_of_the_blind_spot_is_true():
    got = play("pixelcnn", "setup", "gradients", "blind-table")  # the first has assertions of its own
    masked, gated = ({depth: row[k] for depth, *row in got["rows"]} for k in (0, 1))
    assert gated[1] > 0 and gated[12] == gated[24] == 0
    assert masked[12] == masked[24] > 0  # "however deep it is"


def test_what_the_pixelcnn_chapter_says_of_colours_is_true():
    depends = play("pixelcnn", "setup", "colour-matrix")["depends"] > 0
    assert not depends.triu().any()
    within = depends[12:15, 12:15].int().tolist()
    assert within == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]  # red, then green, then blue


@pytest.fixture(scope="module")
def games_of_the_chapter():
    """The GAN chapter's recorded games, as long as a reader's: what it says of them is said of whole games."""
    return play("gan", "setup", "inverse", "replay", "break-collapse", scale="cpu")


def test_mode_collapse_passes_its_stated_threshold(games_of_the_chapter):
    found = {name: modes for name, (modes, _) in games_of_the_chapter["collapse"].items()}
    stated = text_of("gan", "break-collapse-read")
    assert "the healthy generator finds all 8 spots, the collapsed one at most 3" in stated
    assert found["ring, healthy"] == 8 and found["ring, collapsed"] <= 3
    losses = {name: (d, g) for name, _, _, d, g in games_of_the_chapter["rows"]}
    for loss, equilibrium in ((0, 2 * math.log(2)), (1, math.log(2))):
        healthy, collapsed = (losses[name][loss] for name in ("ring, healthy", "ring, collapsed"))
        assert abs(healthy - collapsed) < 0.2
        assert abs(healthy - equilibrium) < 0.2 and abs(collapsed - equilibrium) < 0.2
    assert "The losses of both games lie within two tenths of a nat of one another" in stated


def test_a_sure_discriminator_leaves_the_saturating_loss_no_gradient():
    got = play("gan", "setup", "losses-plot", "break-vanishing", scale="cpu")
    stated = text_of("gan", "break-vanishing-read")
    assert "$D$ is right more than 99 times in 100" in stated
    assert "the saturating gradient is less than a hundredth of the non-saturating one" in stated
    assert got["lesson"]["right"][-1] > 0.99
    assert got["vanished"]["saturating"] < 0.01 * got["vanished"]["non-saturating"]
    assert got["vanished"]["saturating"] < got["lesson"]["saturating"].max() / 10  # it has been larger
    for loss in ("non-saturating", "least-squares", "wgan-gp"):
        assert got["lesson"][loss][-1] > 0.9 * got["lesson"][loss].max()  # "and the others do not"


def test_a_strong_discriminator_stops_the_saturating_loss():
    stuck = play("gan", "setup", "break-strong", scale="cpu")["stuck"]
    stated = text_of("gan", "break-strong-read")
    assert "more than 7 of 10 samples lie near a spot" in stated and "fewer than 6 of 10" in stated
    assert stuck["healthy D", "non-saturating"] > 0.7 and stuck["strong D", "saturating"] < 0.6
    assert stuck["strong D", "non-saturating"] > stuck["strong D", "saturating"] + 0.1
    assert stuck["healthy D", "non-saturating"] > stuck["healthy D", "saturating"]  # "the slower one"


def test_a_missing_detach_costs_what_the_chapter_says():
    got = play("gan", "setup", "break-detach")
    stated = text_of("gan", "break-detach-read")
    assert "more than 1.2 times as much, and the generator, which should have no gradient, has one" in stated
    assert got["slower"] > 1.2
    assert got["cost"]["detached"][1] is None and got["cost"]["not detached"][1] > 0


def test_real_pictures_in_the_wrong_range_show_in_the_greys():
    grey = play("gan", "setup", "break-range")["brightness"]
    stated = text_of("gan", "break-range-read")
    assert "above 0.4, more than a tenth of the whole range above the healthy network's" in stated
    assert grey["real in [0, 1]"] > 0.4 and grey["real in [0, 1]"] > grey["healthy"] + 0.1 > grey["real"] + 0.1


def test_what_the_gan_chapter_says_of_the_best_discriminator_is_true():
    got = play("gan", "setup", "inverse", "best-d-plot", "value-table", scale="cpu")
    assert got["near"] < 0.05 < got["off"].max()  # "Where samples are common the network comes close to D*"
    for name, worth, by_divergence, share, measured in got["rows"]:
        assert worth == pytest.approx(by_divergence, abs=1e-6)
        assert measured == pytest.approx(share, abs=0.01), name
    (_, worth, _, share, _), *_, (_, far, _, sure, _) = got["rows"]
    assert worth == pytest.approx(-math.log(4)) and share == pytest.approx(0.5)
    assert far == pytest.approx(0, abs=1e-6) and sure == pytest.approx(1)


def test_what_the_gan_chapter_says_of_transposed_convolutions_and_norms_is_true():
    import torch
    import torch.nn.functional as F

    for window, counts in ((3, [1, 2, 4]), (4, [4])):  # "some pixels four times", "all inner pixels equally"
        ones = torch.ones(1, 1, 5, 5), torch.ones(1, 1, window, window)
        covered = F.conv_transpose2d(*ones, stride=2, padding=1)[0, 0, 2:-2, 2:-2]
        assert covered.unique().tolist() == counts
    got = play("gan", "setup", "shapes", "norms")
    assert got["apart"]["group norm"] < 1e-5 and got["apart"]["batch norm"] > 0.01


@pytest.fixture(scope="module")
def painted():
    """The cells of the chapter on DDPM that only look at the published network, without its trainings."""
    ids = ("denoise", "class-means", "reach", "time-matters", "norms", "attention", "loss-by-time", "ema", "paint",
           "steps", "variances-seen", "guidance", "built-in", "break-time", "break-sigma", "ode", "straight")
    return play("ddpm", "setup", *ids)


def test_what_the_ddpm_chapter_says_of_the_trained_network_is_true(painted):
    errors = list(painted["off"].values())
    assert errors == sorted(errors) and errors[0] < 0.03  # "Little noise is taken out nearly without loss"
    off_own, off_other, classes = (painted[name] for name in ("off_own", "off_other", "classes"))
    assert off_own[classes == 10].mean() < 0.06  # no label: the guess at T is the mean of all digits
    assert off_own[classes < 10].mean() < off_other[classes < 10].mean() / 1.5
    assert painted["far"][900] > painted["far"][20] + 0.1
    for true, best in painted["best_told"].items():
        assert abs(best - true) <= 50, "smallest where it is told the truth, or next to it"
    assert "the truth, or next to it. To claim too little noise does more harm" in text_of("ddpm", "time-read")
    lies, errors = painted["lies"], painted["errors"]  # of true t = 700
    assert errors[lies.index(500)] > errors[lies.index(900)]
    spread = {name: losses.std().item() for name, losses in painted["by_batch"].items()}
    assert spread["one from each part"] < 0.85 * spread["independent times"]
    loss, t = painted["each"], painted["when"]
    assert loss[t > 900].mean() > 1.3 * loss[(t > 300) & (t < 600)].mean()  # "It is large at both ends"
    assert loss[t < 20].mean() > 1.3 * loss[(t > 300) & (t < 600)].mean()
    assert painted["calm"] < painted["restless"] / 2  # the moving average "stays closer"


def test_what_the_ddpm_chapter_says_of_its_blocks_is_true(painted):
    assert painted["change"]["group"] < 1e-5 and painted["change"]["batch"] > 0.5
    assert painted["moved"] < 1e-4 and painted["same"] < 1e-4


def test_what_the_ddpm_chapter_says_of_samplers_is_true(painted):
    assert max(painted["agree"].values()) < 1e-3  # its own sampler is the package's
    away, most = painted["away"], painted["most"]
    along = [away[f"η = 0, {k} steps"] for k in (1, 2, 5, 10, 20, most)]
    assert along == sorted(along, reverse=True) and along[-1] == 0
    for seed in (0, 1):  # "every seed takes a way of its own"
        assert away[f"η = 1, 50 steps, seed {seed}"] > 5 * along[3]
    grains = painted["grains"]
    assert grains["beta, 5 steps"] > 1.15 * grains["posterior, 5 steps"]  # "what is left is grain"
    assert grains["beta, 50 steps"] < 1.15 * grains["posterior, 50 steps"]  # "In 50 steps both will do"
    assert painted["off_ode"] < 1e-4 and painted["straight"] < 1e-4 and painted["step_off"] < 1e-4
    assert painted["lost"] < 0.1  # "The digit comes back"


def test_what_the_ddpm_chapter_says_of_guidance_is_true(painted):
    obeyed, variety, grey = zip(*(painted["guided"][w] for w in (0, 1, 6)), strict=True)
    assert obeyed[2] >= obeyed[0] > 0.6 and painted["guided"][-1][0] < 0.5
    assert painted["times_as_far"] == pytest.approx(1 / (1 - painted["built_in"]), rel=0.2)  # (9.13)
    assert list(variety) == sorted(variety, reverse=True) and grey[2] > 1.1 * grey[0]


def test_the_wrong_time_passes_its_stated_threshold(painted):
    stated = text_of("ddpm", "break-time-read")
    assert "fewer than 3 of 10 digits are as asked" in stated
    assert "more than half as bright again as the healthy ones; so they are with a time that never changes" in stated
    (good, grey), (obeyed, brighter), (_, same) = painted["wrong_time"].values()
    assert list(painted["wrong_time"])[1:] == ["number of the step", "always 500"]
    assert obeyed < 0.3 and good > 0.6 and brighter > 1.5 * grey and same > 1.5 * grey


def test_the_wrong_noise_passes_its_stated_threshold(painted):
    stated = text_of("ddpm", "break-sigma-read")
    assert "less than a third of the healthy distance, though no fewer are as asked" in stated
    assert "the grain is more than half as much again" in stated
    assert list(painted["wrong_noise"]) == ["healthy", "noise forgotten", "root taken twice"]
    (good, variety, grain), (obeyed, alike, _), (*_, coarse) = painted["wrong_noise"].values()
    assert alike < variety / 3 and obeyed >= good and coarse > 1.5 * grain


def test_a_loss_with_no_network_in_it_moves_nothing():
    got = play("ddpm", "setup", "break-loss")
    stated = text_of("ddpm", "break-loss-read")
    assert "not one weight changes, and the loss stays within a twentieth of its first value" in stated
    assert "the healthy one falls by more than a third" in stated
    first, last, moved = got["learnt"]["the notes'"]
    assert moved == 0 and abs(last - first) < first / 20 and "does not require grad" in got["complaint"]
    first, last, moved = got["learnt"]["healthy"]
    assert moved > 0 and last < first * 2 / 3


def test_training_on_pictures_in_the_wrong_range_shows_in_the_greys():
    grey = play("ddpm", "setup", "break-range")["brightness"]
    stated = text_of("ddpm", "break-range-read")
    assert "above 0.4, more than a fifth of the whole range above the healthy network's" in stated
    assert grey["in [0, 1]"] > 0.4 and grey["in [0, 1]"] > grey["healthy"] + 0.2


def test_the_notes_schedule_leaves_a_fifth_of_the_picture():
    ends = play("ddpm", "setup", "reached")["ends"]
    left = {name: schedule.alpha_bar[-1].sqrt().item() for name, schedule in ends.items()}
    assert left["linear, T = 300"] == pytest.approx(0.2192, abs=1e-3)  # "a fifth of it is left"
    assert left["linear, T = 1000"] < 0.01 and left["cosine, T = 1000"] < 0.001


@pytest.fixture(scope="module")
def plane():
    """The diffusion chapter's network in the plane, shortly trained, and its faults."""
    return play("diffusion", "setup", "schedules", "sampler", "forward-panels", "train", "backward-panels", "distance",
                "bug", "break-sampler", "break-time")


def test_a_schedule_that_does_not_reach_noise_harms_what_the_chapter_says(plane):
    stated = text_of("diffusion", "bug-read")
    assert "in three of the four cases the notes' points are more than 1.5 times as far from fresh data" in stated
    assert "DDPM at a tenth of the size, they are less than two thirds as far as DDIM's" in stated
    damage = plane["damage"]
    for size, sampler in ((1.0, "DDPM"), (1.0, "DDIM"), (0.1, "DDIM")):
        assert damage[size, sampler, "notes"] > 1.5 * damage[size, sampler, "reaches noise"], (size, sampler)
    assert damage[0.1, "DDPM", "notes"] < 2 / 3 * damage[0.1, "DDIM", "notes"]
    # "the right width" mends the small S and not the large one
    assert damage[0.1, "DDIM", "right width"] < 2 / 3 * damage[0.1, "DDIM", "notes"]
    assert damage[1.0, "DDIM", "right width"] > 1.5 * damage[1.0, "DDIM", "reaches noise"]


def test_a_wrong_sigma_and_an_index_off_by_one_pass_their_stated_thresholds(plane):
    stated = text_of("diffusion", "break-sampler-read")
    assert "less than 0.8 of the healthy one's, and without any noise less than a tenth of it" in stated
    assert "more than twice as far from the S as the healthy ones" in stated
    assert list(plane["symptoms"]) == ["data", "healthy", "σ² for σ", "no z", "index −1"]
    _, healthy, squared, silent, index = plane["symptoms"].values()
    assert squared[0] < 0.8 * healthy[0] and silent[0] < 0.1 * healthy[0]
    assert index[1] > 2 * healthy[1]


def test_a_network_that_is_not_told_the_time_passes_its_stated_threshold(plane):
    assert "more than twice that of the network that was told" in text_of("diffusion", "break-time-read")
    told, untold = (plane["time_symptoms"][name][2] for name in ("told", "not told"))
    assert untold > 2 * told


def test_small_steps_back_are_gaussian_and_the_posterior_is_bayes_rule():
    got = play("diffusion", "setup", "chain-table", "reverse-picture", "posterior-grid")
    off = got["off"]
    assert off[0.9] > 0.3 and off[0.5] > 0.3 and 0.05 > off[0.005] >= 0  # "For small steps it is nearly nothing"
    assert (got["by_bayes"] - got["by_formula"]).abs().max() < 1e-9
    for _, *both in got["rows"]:
        assert both[0] == pytest.approx(both[1], abs=0.06) and both[2] == pytest.approx(both[3], abs=0.08)


def test_the_notes_exponent_without_its_square_is_no_density():
    rows = play("diffusion", "setup", "no-square")["rows"]
    assert [right for _, right, _ in rows][-1] == pytest.approx(1, abs=1e-6)
    sums = [wrong for *_, wrong in rows]  # of a grid that is twice as wide each time
    assert all(sums[k + 1] > 5 * sums[k] for k in range(3))


def test_the_bound_lies_above_the_entropy_and_comes_down_with_more_steps():
    got = play("diffusion", "setup", "chain-table", "chain-map", "best-eps", "nats")
    best, posterior, cloud = got["gaps"].values()
    assert all(gap > 0 for gap in best + posterior + cloud)
    assert best[1] < best[0] / 2 and best[2] < best[1] / 2  # of four times as many steps: "half for twice as many"
    assert min(posterior) > 1 and min(cloud) > 0.8  # more steps do not mend them
