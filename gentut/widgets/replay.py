"""Recorded training runs to scrub and play: what a network drew at each stored step, beside its loss curves."""

import anywidget
import traitlets

from gentut import Error, checks, replays

from . import base

DIGITS = [str(k) for k in range(10)]

# What is shown of each family. charts: (label, the least value of a logarithmic axis or 0 for a plain one, [(logged
# name, words, kind)]), kinds are classes of plot.css; wild: curves with peaks, which need not fit in. bars: (label, top
# of the axis or 0 for the largest bar, a level to compare with or None). facts: measured name → (label, factor, digits,
# unit); {bars} is how many bars there are.
VIEWS = {
    "vae": {
        "charts": [("reconstruction, nats", 0, [("reconstruction", "reconstruction", "gt-q")]),
                   ("KL, nats, logarithmic", 1e-3, [("kl", "KL", "gt-p")])],
        "bars": ("KL of each unit of the code, nats", 0, None),
        "facts": {"reconstruction": ("reconstruction", 1, 1, " nats"), "kl": ("KL", 1, 2, " nats"),
                  "active_units": ("active units", 1, 0, " of {bars}")},
    },
    "gan": {
        "charts": [("losses", 0, [("discriminator_loss", "D", ""), ("generator_loss", "G", "gt-q")])],
        "wild": True,
        "bars": ("share of each digit", 0, 0.1),
        "facts": {"digits": ("digits, in effect", 1, 1, " of {bars}"), "ratio": ("Fréchet ÷ floor", 1, 1, ""),
                  "precision": ("precision", 1, 2, ""), "recall": ("recall", 1, 2, "")},
    },
    "ddpm": {
        "charts": [("loss, logarithmic", 0.01, [("loss", "loss", "gt-q")])],
        "bars": ("came out as the digit asked for", 1, None),
        "facts": {"test_loss": ("loss on test digits", 1, 4, ""), "as_asked": ("as asked", 100, 0, " %")},
    },
}


class TrainingReplay(anywidget.AnyWidget):
    """One or two recorded training runs: a strip of pictures, what was measured, and the loss curves, step by step.

    Made by `TrainingReplay.from_replays`. In a notebook `step`, the training step that is shown, may be read and set:
    each run shows its last stored step up to there. Raises Error for a negative step.
    """

    _esm = base.esm("replay-training.js")
    _css = base.css("common.css", "plot.css", "replay.css")

    records = traitlets.List(traitlets.Dict()).tag(sync=True)
    raw = traitlets.Bytes().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    @classmethod
    def from_replays(cls, given, pictures=20):
        """Make the widget from {title: replays.Replay}: one run, or two to be shown side by side.

        It opens at the last step and shows the first `pictures` that were stored; 20 of them at 32 steps take about
        250 KB of the page. Raises Error for anything else than one or two replays of one family.
        """
        checks.whole(pictures, "pictures", 1)
        if not isinstance(given, dict) or not 1 <= len(given) <= 2:
            raise Error(f"give one or two replays as {{title: replay}}, got {given!r:.60}")
        store, sent = base.Store(), []
        for title, replay in given.items():
            if not isinstance(title, str) or not title.strip():
                raise Error(f"a replay's title must be some text, got {title!r}")
            if not isinstance(replay, replays.Replay):
                raise Error(f"{title!r} must be a replays.Replay, which replays.load returns, got "
                            f"{type(replay).__name__}")
            sent.append({"title": title, **_sent(replay, store, pictures)})
        families = {r["family"] for r in sent}
        if len(families) > 1:
            raise Error(f"two runs are compared by the same measures: both must be of one family, got {families}")
        return cls(records=sent, raw=store.bytes(), step=max(r["steps"][-1] for r in sent))

    @traitlets.validate("step")
    def _valid_step(self, proposal):
        return checks.whole(proposal["value"], "step")


def _sent(replay, store, pictures):
    """What the page gets of a replay: its first pictures into the store, all else as a dict."""
    view, count = VIEWS[replay.family], replay.bars.shape[1]

    def short(values):
        return [float(f"{v:.5g}") for v in values.tolist()]

    label, top, level = view["bars"]
    return {
        "family": replay.family,
        "steps": replay.steps.tolist(),
        "count": min(pictures, replay.pictures.shape[1]),
        "at": store.put(replays.packed(replay.pictures[:, :pictures]).numpy()),
        "facts": [
            {"label": words, "digits": digits, "unit": unit.format(bars=count),
             "values": short(factor * replay.measured[name])}
            for name, (words, factor, digits, unit) in view["facts"].items()
        ],
        "bars": {"label": label, "top": top, "level": level, "names": DIGITS if count == 10 else [],
                 "values": [short(row) for row in replay.bars]},
        "wild": view.get("wild", False),
        "curveSteps": short(replay.curve_steps),
        "charts": [
            {"label": words, "least": least, "lines": [
                {"name": name, "kind": kind, "values": short(replay.curves[key])} for key, name, kind in lines
            ]}
            for words, least, lines in view["charts"]
        ],
    }
