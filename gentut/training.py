"""The one training loop, for every chapter: plain PyTorch, readable from top to bottom.

- The whole data set lies on the device as uint8. A batch is an index into it: no per-picture Python, no DataLoader.
- The order of the pictures is a function of (seed, epoch), the noise of (seed, step, place in the batch). So a run
  resumed at any step goes on bitwise as if it had never stopped, and N processes follow one.
- Nothing in a step waits for the device. Losses are fetched every `log_every` steps, all at once.
- Most networks learn from one loss. A game has several players: each takes its Turn with a loss of its own.
"""

import contextlib
import copy
import math
import operator
import sys
import time
from dataclasses import dataclass, field

import torch
from torch import nn

from gentut import Error, choose, data, runs
from gentut.machine import PRECISIONS, choose_device, choose_precision, device_name, processes, progress, stop_signals
from gentut.randomness import Noise, seed_of, seeded  # noqa: F401 (chapters call seeded by this module's name)
from gentut.settings import Settings


@dataclass(frozen=True)
class Config(Settings):
    """What every training run needs to be told. Chapters add their own fields."""

    data: str = "mnist"  # a name that data.load knows
    seed: int = 0
    epochs: int = 20  # passes over the training pictures ...
    steps: int = 0  # ... or, if not 0, this many updates
    batch_size: int = 128  # pictures per update, over all processes together
    learning_rate: float = 1e-3  # Adam's
    warmup: int = 0  # updates over which the learning rate rises from 0
    decay: str = "none"  # "cosine": the learning rate falls to 0 along half a cosine
    ema: float = 0.0  # decay of the moving average of the weights that is kept; 0: none
    validation: int = 0  # pictures held out from the end of the training set
    keep_best: bool = False  # keep the weights of the epoch with the lowest validation loss
    precision: str = "auto"  # of the arithmetic: see choose_precision
    compile: bool = False  # torch.compile the parts of the network
    log_every: int = 50  # updates between two fetched losses
    save_every: int = 1000  # updates between two saved states

    def __post_init__(self):
        super().__post_init__()
        data.check_name(self.data)
        choose("precision", self.precision, PRECISIONS)
        choose("decay", self.decay, ("none", "cosine"))
        for name in ("batch_size", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise Error(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("epochs", "steps", "warmup", "validation"):
            if getattr(self, name) < 0:
                raise Error(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.epochs and not self.steps:
            raise Error("nothing to train: set epochs or steps")
        if not self.learning_rate > 0 or not 0 <= self.ema < 1:
            raise Error(f"need learning_rate > 0 and 0 <= ema < 1, got {self.learning_rate} and {self.ema}")
        if self.keep_best and not self.validation:
            raise Error("keep_best needs pictures to validate on: set validation, for example validation=5000")


@dataclass
class Run:
    """A finished (or interrupted) training run."""

    model: nn.Module  # in eval mode, with the weights that were kept
    config: Config
    history: list = field(default_factory=list)  # the rows of log.jsonl
    step: int = 0  # updates made
    seconds: float = 0.0  # of training, validation included, over all resumed parts
    device: str = "cpu"
    precision: str = "fp32"
    data_sha256: str = ""
    folder: object = None  # pathlib.Path, or None for a run in memory
    complete: bool = True  # False: stopped by Ctrl-C

    def curve(self, name):
        """(steps, values) of one logged quantity, for plotting: "loss", "validation_loss", ..."""
        rows = [r for r in self.history if name in r]
        if not rows:
            known = sorted({k for r in self.history for k in r})
            choose("logged quantity", name, known)
        return [r["step"] for r in rows], [r[name] for r in rows]


def learning_rate_at(config, step, total):
    """The learning rate of update `step` (0, 1, ...) of `total`."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))
    if config.decay == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / total))
    return rate


# ------------------------------------------------------------------------------------------------------------ the loop


@dataclass(frozen=True)
class Turn:
    """One player's part of an update: which part of the network learns, and from which loss."""

    losses: object  # losses(model, x, labels, noise) → dict of tensors (batch,), as `fit` takes it
    part: str = ""  # the child module that learns while all the rest stands still; "": the whole network
    loss: str = "loss"  # which of the quantities it makes smaller
    rate: float = 1.0  # its learning rate as a multiple of config.learning_rate
    betas: tuple = (0.9, 0.999)  # Adam's
    every: int = 1  # it moves in every so many-th update
    average: bool = True  # keep the moving average of its weights, if config.ema


class _Step(nn.Module):
    """The loss as a module, because DistributedDataParallel averages the gradients of what its forward computes."""

    def __init__(self, model, losses):
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, x, labels, noise):
        return self.losses(self.model, x, labels, noise)


def fit(model, config, losses, images, labels=None, *, out=None, resume=False, device=None, watch=None):
    """Train `model` and return a Run.

    losses(model, x, labels, noise) → dict of tensors (batch,): "loss" is what Adam makes smaller, on average; the
    others are logged. x is float32 (batch, 1, height, width) in [0, 1]; labels are int64 (batch,) or None; noise is a
    Noise. A game gives a tuple of Turns instead: in each update they come one after the other, on the same pictures,
    each with noise and an optimizer of its own.
    images: uint8 (n, height, width); labels: int64 (n,) or None. out: the run's folder (None: keep it in memory);
    resume: go on from the state in it. watch: (steps, look): after each update that is in `steps` (0: before the first)
    look(step, model) is called by the first process, with a copy in eval mode of the network as it would be kept then
    (averaged weights where there are some). It may do what it likes to the copy and to PyTorch's random numbers: the
    run goes on bitwise as if nobody had looked, and its seconds do not count.
    Raises Error for a loss that is not finite, and for all that Folder refuses.
    """
    watch = _check_watch(watch)
    device = choose_device(device)
    precision = choose_precision(config.precision, device)
    turns = losses if isinstance(losses, tuple) else (Turn(losses),)
    if len(turns) > 1 and config.validation:
        raise Error("a game has no validation loss: set validation=0")
    held = _check_images(images, labels, config)
    identity = data.digest(images) if labels is None else data.digest(images, labels)
    with processes(device) as (rank, size), stop_signals() as stopped, contextlib.ExitStack() as until_the_end:
        if config.batch_size % size:
            raise Error(f"batch_size={config.batch_size} cannot be shared equally by {size} processes")
        folder = state = None
        if out is not None and (rank == 0 or resume):
            folder = runs.Folder(out, {**config.to_dict(), "data_sha256": identity}, resume)
            if rank == 0:
                until_the_end.enter_context(runs.alone(folder.path))
            state = folder.load_state() if resume else None
        loop = _Loop(model, config, turns, images, labels, held, device, precision, rank, size)
        run = Run(model, config, device=device_name(device), precision=precision, data_sha256=identity)
        if rank != 0:
            folder = None  # only the first process writes
        run.folder = folder.path if folder else None
        if state:
            run.history = loop.restore(*state)
            if folder:
                folder.write_log(run.history)
        try:
            loop.go(run, folder, stopped, *watch)
        finally:
            loop.release()
    return run


def _check_watch(watch):
    """`watch` as (frozenset of steps, look); raises Error for anything else."""
    if watch is None:
        return frozenset(), None
    try:
        steps, look = watch
        steps = frozenset(map(operator.index, steps))
    except (TypeError, ValueError):
        raise Error(f"watch must be (whole numbers of steps, function), got {watch!r:.60}") from None
    if not callable(look) or min(steps, default=0) < 0:
        raise Error(f"watch must be (steps that are not negative, function), got {watch!r:.60}")
    return steps, look


def _check_images(images, labels, config):
    """Raise Error for pictures that cannot be trained on; return how many are trained on. Nothing is written before."""
    data.check_images(images)
    if labels is not None and len(labels) != len(images):
        raise Error(f"there are {len(images)} pictures but {len(labels)} labels")
    held = len(images) - config.validation
    if held < 1:
        raise Error(f"validation={config.validation} leaves nothing to train on: there are {len(images)} pictures")
    if config.batch_size > held:
        raise Error(f"batch_size={config.batch_size} is more than the {held} training pictures")
    return held


class _Player:
    """A Turn with what it needs in memory: its parameters, its optimizer, and the rest of the network's parameters."""

    def __init__(self, turn, model, config, device, size):
        self.turn, self.step = turn, _Step(model, turn.losses)
        self.own = list(model.get_submodule(turn.part).parameters())
        mine = set(map(id, self.own))
        self.others = [p for p in model.parameters() if id(p) not in mine]
        self.optimizer = torch.optim.Adam(
            self.own, lr=turn.rate * config.learning_rate, betas=turn.betas, fused=True
        )
        self.averaged = self.step
        if size > 1:  # it averages the gradients of what wants them now
            self.alone()
            ids = [device.index] if device.type == "cuda" else None
            self.averaged = nn.parallel.DistributedDataParallel(self.step, device_ids=ids)

    def alone(self):
        """Only this player's weights want gradients: those of the others would be computed for nothing."""
        for p in self.others:
            p.requires_grad_(False)
        for p in self.own if self.others else ():
            p.requires_grad_(True)


class _Loop:
    """What a run needs in memory, and the loop over it."""

    def __init__(self, model, config, turns, images, labels, held, device, precision, rank, size):
        self.config, self.device, self.precision, self.rank, self.size = config, device, precision, rank, size
        self.images, self.held_out = images[:held].to(device), images[held:].to(device)
        self.labels = self.held_labels = None
        if labels is not None:
            self.labels, self.held_labels = labels[:held].to(device), labels[held:].to(device)
        self.per_epoch = held // config.batch_size  # an epoch's last, smaller batch is left out; it differs each time
        self.total = config.steps or config.epochs * self.per_epoch
        share = config.batch_size // size
        self.rows = slice(rank * share, (rank + 1) * share)

        convolutional = any(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in model.modules())
        self.layout = torch.channels_last if convolutional else torch.contiguous_format
        self.model = model.to(device, memory_format=self.layout).train()
        if config.compile:
            for part in model.children():
                part.compile()
        self.ema = copy.deepcopy(model).requires_grad_(False) if config.ema else None
        self.players = [_Player(turn, self.model, config, device, size) for turn in turns]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        if self.ema is not None:  # the same memory as the parameters, listed once: (averages, weights)
            parts = [turn.part for turn in turns if turn.average]
            averages, weights = ([p for part in parts for p in m.get_submodule(part).parameters()]
                                 for m in (self.ema, self.model))
            self.pairs = averages, [p.detach() for p in weights]
        self.best, self.best_loss = None, math.inf
        self.step, self.seconds = 0, 0.0
        self.names, self.recent = (), []  # quantities of each update since the last fetch, still on the device
        self.saved = None  # the step of the last state written

    # -- one update --------------------------------------------------------------------------------------------------

    def update(self, index):
        """One step on the pictures `index` (rows of this process): a step of Adam for each player whose turn it is."""
        c = self.config
        x = data.to_unit(self.images[index]).contiguous(memory_format=self.layout)
        labels = None if self.labels is None else self.labels[index]
        row = {}
        for i, player in enumerate(self.players):
            if (self.step + 1) % player.turn.every == 0:
                place = (self.step, i) if i else (self.step,)
                noise = Noise(seed_of(c.seed, "noise", *place), c.batch_size, self.rows, self.device)
                row |= self.take_turn(player, x, labels, noise)
        self.scaler.update()
        if self.ema is not None and self.pairs[0]:
            keep = min(c.ema, (1 + self.step) / (10 + self.step))  # the first averages forget the random start
            torch._foreach_lerp_(*self.pairs, 1 - keep)
        self.names += tuple(name for name in row if name not in self.names)
        self.recent.append(row)
        self.step += 1

    def take_turn(self, player, x, labels, noise):
        """One player's step of Adam; the means of its quantities over the batch, still on the device."""
        player.alone()
        with self.autocast():
            terms = player.averaged(x, labels, noise)
        means = {name: value.float().mean() for name, value in terms.items()}
        player.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(means[player.turn.loss]).backward()
        for group in player.optimizer.param_groups:
            group["lr"] = player.turn.rate * learning_rate_at(self.config, self.step, self.total)
        self.scaler.step(player.optimizer)  # Adam's fused kernel leaves out the update itself if fp16 overflowed
        return {name: value.detach() for name, value in means.items()}

    def autocast(self):
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision, torch.bfloat16)
        return torch.autocast(self.device.type, kind, enabled=self.precision != "fp32")

    def order(self, epoch):
        """The pictures of one epoch in order: (per_epoch, batch_size) indices, of which this process takes its rows."""
        g = torch.Generator().manual_seed(seed_of(self.config.seed, "order", epoch))
        order = torch.randperm(len(self.images), generator=g)[: self.per_epoch * self.config.batch_size]
        return order.view(self.per_epoch, self.config.batch_size)[:, self.rows].to(self.device)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def go(self, run, folder, stopped, watched=frozenset(), look=None):
        c = self.config
        self.saved = self.step if folder and self.step else None
        started = time.perf_counter() - self.seconds
        bar = progress(self.total, self.step, quiet=self.rank != 0)
        try:
            if self.step == 0 and 0 in watched:
                started += self.show(look)
            while self.step < self.total and run.complete:
                epoch, first = divmod(self.step, self.per_epoch)
                order = self.order(epoch)
                for k in range(first, min(self.per_epoch, self.total - epoch * self.per_epoch)):
                    self.update(order[k])
                    last = self.step == self.total
                    validate = c.validation and (k + 1 == self.per_epoch or last)
                    fetch = self.step % c.log_every == 0 or last or validate
                    save = folder and (self.step % c.save_every == 0 or last)
                    if fetch:
                        row = self.fetch(folder, stopped)
                        run.complete = not row.pop("stopped") or last
                        if validate:
                            row |= self.validate()
                        self.seconds = row["seconds"] = time.perf_counter() - started
                        run.history.append(row)
                        if folder:
                            folder.log(row)
                        bar.set_postfix({n: f"{row[n]:.2f}" for n in row if n.endswith("loss")}, refresh=False)
                    elif stopped and self.size == 1:  # several processes heed a signal only where all of them meet
                        run.complete = False  # and no row: the log goes on as if there had been no stop
                    if save or last or not run.complete:
                        self.check(folder)
                        self.check_weights(folder)
                    if self.step in watched:
                        started += self.show(look)
                    if folder and (save or not run.complete):
                        self.seconds = time.perf_counter() - started
                        folder.save_state(*self.state(run.history))
                        self.saved = self.step
                    bar.update(1)
                    if not run.complete:
                        break
        finally:
            bar.close()
        run.step, run.seconds = self.step, time.perf_counter() - started
        self.finish(run, folder)

    def show(self, look):
        """Give `look` a copy of the network as it would be kept now. Returns the seconds that this took."""
        if self.rank != 0:
            return 0.0
        began = time.perf_counter()
        model = copy.deepcopy(self.model).requires_grad_(False).eval()
        averaged = [player.turn.part for player in self.players if player.turn.average and self.ema is not None]
        for part in averaged:
            for mine, average in zip(*(m.get_submodule(part).parameters() for m in (model, self.ema)), strict=True):
                mine.copy_(average)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            look(self.step, model)
        return time.perf_counter() - began

    def release(self):
        """Let go of what averages gradients, before processes() takes down the group under it.

        Otherwise it is the last owner of the group, and PyTorch then waits for the group's thread while holding the
        interpreter's lock, which that thread may be waiting for: now and then a finished run never ended.
        """
        if self.size > 1:
            for player in self.players:
                player.averaged.reducer = player.averaged.logger = None
                player.averaged = None

    def values(self):
        """What was computed since the last fetch, (updates, quantities), on the device; nan: a player did not move."""
        absent = torch.tensor(math.nan, device=self.device)
        rows = [row.get(name, absent) for row in self.recent for name in self.names]
        return torch.stack(rows).view(len(self.recent), -1) if rows else torch.zeros(0, len(self.names))

    def check(self, folder):
        """Raise Error if one of the losses since the last fetch is not finite; return all quantities as in values()."""
        values = self.values().cpu()
        first = self.step - len(values) + 1
        for step in range(first, self.step + 1):  # the earliest first: one player's nan is soon every player's
            for turn in (player.turn for player in self.players if step % player.turn.every == 0):
                loss = values[step - first, self.names.index(turn.loss)].item()
                if not math.isfinite(loss):
                    raise self.diverged(f"the {turn.loss.replace('_', ' ')} became {loss} at step {step}", folder)
        return values

    def check_weights(self, folder):
        """Raise Error if a weight is not finite. A step's loss is computed before its update: it tells too late."""
        if not torch.stack([v.isfinite().all() for v in self.model.state_dict().values()]).all():
            raise self.diverged(f"a weight was no longer finite after step {self.step}", folder)

    def diverged(self, what, folder):
        """The Error that ends a run whose numbers have left the finite ones."""
        good = "no state was saved"
        if folder and self.saved:
            good = f"the last good state is that of step {self.saved} in {folder.path}"
        return Error(f"{what}; {good}. Try a smaller learning_rate or fp32.")

    def fetch(self, folder, stopped):
        """The mean of each quantity since the last fetch, over all processes, as a row of the log."""
        values = self.check(folder).double()
        means = torch.cat([values.nanmean(0), torch.tensor([float(bool(stopped))])])
        if self.size > 1:
            means = means.to(self.device)
            torch.distributed.all_reduce(means)
            means = means.cpu() / self.size
        self.recent = []
        row = {"step": self.step, "epoch": round(self.step / self.per_epoch, 4)}
        named = {n: v for n, v in zip(self.names, means[:-1].tolist(), strict=True) if not math.isnan(v)}
        return row | named | {"stopped": means[-1].item() > 0}

    @torch.no_grad()
    def validate(self):
        """Mean of each quantity over the held-out pictures, always with the same noise; keeps the best weights."""
        kept = self.ema if self.ema is not None else self.model
        step = _Step(kept.eval(), self.players[0].turn.losses)
        sums = 0
        for i in range(0, len(self.held_out), 1000):
            images = self.held_out[i : i + 1000]
            labels = None if self.held_labels is None else self.held_labels[i : i + 1000]
            noise = Noise(seed_of(self.config.seed, "validation", i), len(images), device=self.device)
            with self.autocast():
                terms = step(data.to_unit(images).contiguous(memory_format=self.layout), labels, noise)
            sums = sums + torch.stack([v.double().sum() for v in terms.values()])
        self.model.train()
        row = dict(zip((f"validation_{n}" for n in terms), (sums / len(self.held_out)).tolist(), strict=True))
        if self.config.keep_best and row["validation_loss"] < self.best_loss:
            self.best_loss = row["validation_loss"]
            self.best = {k: v.clone() for k, v in kept.state_dict().items()}
        return row

    def finish(self, run, folder):
        """Give the run its network: the best, else the averaged, else the last weights."""
        if self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.ema is not None and self.pairs[0]:
            torch._foreach_copy_(*reversed(self.pairs))
        if len(self.players) > 1:  # the last turn left all weights but one player's without gradients
            self.model.requires_grad_(True)
        self.model.eval()
        if folder and run.complete:
            weights = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
            runs.write_atomic(folder.path / "weights.safetensors", runs.tensors_to_bytes(weights))
            runs.write_json(folder.path / "results.json", {
                "steps": run.step, "seconds": round(run.seconds, 2), "device": run.device, "precision": run.precision,
                "processes": self.size, "torch": torch.__version__, **(run.history[-1] if run.history else {}),
            })
        if not run.complete and self.rank == 0:
            how = f"saved in {folder.path}; resume it with --resume" if folder else "kept in memory"
            print(f"stopped at step {run.step} of {self.total}: {how}", file=sys.stderr)

    # -- state -------------------------------------------------------------------------------------------------------

    def state(self, history):
        """All that decides how the run goes on, and the rows logged so far: (tensors, facts)."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        if self.best is not None:
            tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for i, player in enumerate(self.players):
            for j, values in player.optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{i}.{j}.{k}": v for k, v in values.items()}
        if self.recent:
            tensors["recent"] = self.values()
        tensors["rng"] = torch.get_rng_state()
        facts = {"step": self.step, "seconds": self.seconds, "names": self.names, "scaler": self.scaler.state_dict()}
        return tensors, facts | {"best_loss": None if self.best is None else self.best_loss, "history": history}

    def restore(self, tensors, facts):
        """Go on from a state. Returns the rows logged up to it; raises Error for the state of something else."""
        try:
            return self._restore(tensors, facts)
        except (RuntimeError, KeyError, ValueError, TypeError) as why:  # it is whole: unpack_state saw to that
            raise Error(f"the saved state does not fit this network: {why}") from None

    def _restore(self, tensors, facts):
        def part(prefix):
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        if self.ema is not None:
            self.ema.load_state_dict(part("ema."))
        for i, player in enumerate(self.players):
            optimizer = player.optimizer.state_dict()
            optimizer["state"] = {}
            for key, value in part(f"adam.{i}.").items():
                j, name = key.split(".", 1)
                if value.ndim == 4:  # the fused kernel goes through memory: averages must lie there as their weights do
                    value = value.contiguous(memory_format=self.layout)
                optimizer["state"].setdefault(int(j), {})[name] = value
            player.optimizer.load_state_dict(optimizer)
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        if facts["best_loss"] is not None:
            self.best, self.best_loss = {k: v.to(self.device) for k, v in part("best.").items()}, facts["best_loss"]
        self.step, self.seconds, self.names = facts["step"], facts["seconds"], tuple(facts["names"])
        values = tensors["recent"].to(self.device) if "recent" in tensors else []
        self.recent = [{n: v for n, v in zip(self.names, row, strict=True) if not v.isnan()} for row in values]
        torch.set_rng_state(tensors["rng"])
        return facts["history"]
