"""The GAN chapter's small games: stored ones to scrub and play, and one on the line that is trained in the page."""

import anywidget
import numpy as np
import torch
import traitlets

from gentut import Error, checks, games

from . import base

ARROWS = 64  # at most so many samples of a frame send their arrow; more arrows would hide one another
LARGEST = float(np.finfo(np.float16).max)


class GanReplay(anywidget.AnyWidget):
    """Played games: samples, densities, the discriminator and its gradient step by step, two games side by side.

    Made by `GanReplay.from_records`. In a notebook these may be read and set: `shown`, the names of one or two
    records; `step`, the training step that they are shown at (each shows its last frame up to there); `live`, the name
    of a record in one dimension whose game is trained anew in the page, or "" for the stored games; `rates`, the
    learning rates of [generator, discriminator] and `seed`, the seed of the batches, of that training.

    Raises Error for a name that is not there, a negative step, and rates that are not positive.
    """

    _esm = base.esm("games-replay.js")
    _css = base.css("common.css", "plot.css", "games.css")

    records = traitlets.List(traitlets.Dict()).tag(sync=True)
    raw = traitlets.Bytes().tag(sync=True)
    shown = traitlets.List(traitlets.Unicode()).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    live = traitlets.Unicode("").tag(sync=True)
    rates = traitlets.List(traitlets.Float(), [1e-3, 1e-3]).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    @classmethod
    def from_records(cls, records):
        """Make the widget from {name: games.Record}, in one or two dimensions, in the order of the choices.

        It opens with the first record at its last step, beside the next one of the same dimension. A record of 60
        frames and 256 samples takes about 90 KB on the line and 155 KB in the plane. Raises Error for anything but
        records, and for one that cannot be shown: with numbers that are not finite, or samples beyond float16's range.
        """
        if not isinstance(records, dict) or not records:
            raise Error(f"records must be a dict of a name for each games.Record, got {records!r:.60}")
        store, sent = base.Store(), []
        for name, record in records.items():
            if not isinstance(name, str) or not name.strip():
                raise Error(f"a record's name must be some text, got {name!r}")
            if not isinstance(record, games.Record):
                raise Error(f"{name!r} must be a games.Record, which games.play returns, got {type(record).__name__}")
            sent.append({"name": name, **_packed(name, record, store)})
        first = sent[0]
        beside = [other["name"] for other in sent[1:] if other["dim"] == first["dim"]]
        return cls(records=sent, raw=store.bytes(), shown=[first["name"], *beside[:1]], step=first["steps"][-1])

    @traitlets.validate("shown")
    def _valid_shown(self, proposal):
        shown, names = proposal["value"], [r["name"] for r in self.records]
        if not 1 <= len(shown) <= 2 or not set(shown) <= set(names):
            raise Error(f"shown must be one or two of {names}, got {shown}")
        return shown

    @traitlets.validate("step")
    def _valid_step(self, proposal):
        return checks.whole(proposal["value"], "step")

    @traitlets.validate("live")
    def _valid_live(self, proposal):
        names = [r["name"] for r in self.records if r["dim"] == 1]
        if proposal["value"] and proposal["value"] not in names:
            raise Error(f'live must be one of the records in one dimension, {names}, or "", got {proposal["value"]!r}')
        return proposal["value"]

    @traitlets.validate("rates")
    def _valid_rates(self, proposal):
        rates = proposal["value"]
        if len(rates) != 2 or not all(0 < rate < float("inf") for rate in rates):
            raise Error(f"rates must be two positive numbers, the generator's and the discriminator's, got {rates}")
        return rates

    @traitlets.observe("live")
    def _own_rates(self, change):
        """A game begins with its own learning rates."""
        for record in self.records:
            if record["name"] == change["new"]:
                self.rates = record["game"]["rates"]


def _packed(name, record, store):
    """What the page gets of a record: its arrays into the store, all else as a dict."""
    game, target, dim = record.game, record.target, record.game.dim
    at = {}

    def put(key, values, kind="<f2"):
        values = torch.as_tensor(values).detach().cpu().double().numpy()
        if not np.isfinite(values).all() or (kind == "<f2" and np.abs(values).max(initial=0) > LARGEST):
            raise Error(f"{name!r} cannot be shown: its {key} are not all finite and below {LARGEST:g}")
        at[key] = store.put(values.astype(kind))

    stride = -(-record.arrows.shape[1] // ARROWS)  # samples may be in some order: every so many-th speaks for all
    arrows = record.arrows[:, ::stride]
    lengths = record.arrows.norm(dim=2)  # (frames, m)
    put("samples", record.samples)
    put("arrows", arrows)
    put("scores", record.scores.clamp(-LARGEST, LARGEST))
    put("real", record.real)
    if record.density is not None:
        put("density", record.density)
    if dim == 1:  # what training in the page starts from
        put("z", record.z, "<f4")
        for player in ("generator", "discriminator"):
            put(player, torch.cat([v.flatten() for v in record.first[player].values()]), "<f8")
        m = record.samples.shape[1]
        put("quantiles", target.quantile((torch.arange(m, dtype=torch.float64) + 0.5) / m), "<f8")
    middle = record.grid
    return {
        "dim": dim,
        "steps": record.steps.tolist(),
        "count": record.samples.shape[1],
        "arrows": arrows.shape[1],
        "stride": stride,
        "low": middle.amin(0).tolist(),
        "high": middle.amax(0).tolist(),
        "side": round(len(middle) ** (1 / dim)),  # grid points along an axis
        "unit": max(lengths.quantile(0.95).item(), 1e-12),  # the length that a long arrow stands for
        "push": [float(f"{v:.6g}") for v in lengths.mean(1).tolist()],
        "curves": {k: [float(f"{v:.6g}") for v in values.tolist()] for k, values in record.curves.items()},
        "target": {k: getattr(target, k).tolist() for k in ("means", "sigmas", "weights")},
        "game": {
            "loss": game.loss,
            "penalty": game.penalty,
            "beta1": game.beta1,
            "beta2": game.beta2,
            "latent": game.latent,
            "batch": game.batch_size,
            "moves": game.discriminator_steps,
            "rates": [game.learning_rate, game.learning_rate * game.discriminator_rate],
            "generator": _shapes(record.first["generator"]),
            "discriminator": _shapes(record.first["discriminator"]),
        },
        "at": at,
    }


def _shapes(state):
    """[out, in] of each linear layer of a state dict."""
    return [list(v.shape) for v in state.values() if v.ndim == 2]
