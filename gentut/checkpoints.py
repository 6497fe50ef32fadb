"""Published weights: float16 safetensors with a JSON card beside each. No pickle is ever read.

The card says how the weights came about and how good they are. It holds two digests, both checked whenever it is read:
`sha256` is that of the weights file, `card_sha256` that of the card itself.
"""

import hashlib
import importlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from gentut import Error, choose, runs

FOLDER = Path(__file__).parent / "published"
FAMILIES = ("classifier", "ddpm", "gan", "pixelcnn", "vae")  # chapter modules that have networks to load
HEADLINES = ("ratio", "error", "importance_weighted_nats", "nats", "loss")  # by what a network is compared: the first
COMPANIONS = {"classifier": "mnist-features.safetensors"}  # a file computed with a network, and published with it


def names():
    """Names of the published networks."""
    return sorted(p.stem for p in FOLDER.glob("*.json"))


def card(name):
    """The card of a published network, or of a weights file (its .json neighbour), as a dict.

    Raises Error if it is absent, or if one of its values is not as it was written.
    """
    weights, about = _files(name)
    if not about.exists():
        raise Error(f"{weights} has no card: {about.name} should lie beside it")
    facts = runs.read_json(about)
    if facts.get("card_sha256") != card_digest(facts):
        was = "does not have the digest written in it" if "card_sha256" in facts else "has no digest of itself"
        raise Error(f"{about} {was}: a value was changed after it was written. If you meant to change it, "
                    f"checkpoints.write_card writes it with a new digest")
    return facts


def card_digest(facts):
    """SHA-256 (hex) over the values of a card, whatever the order and the spaces, without its `card_sha256`."""
    rest = {key: value for key, value in facts.items() if key != "card_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_card(facts, path):
    """Write a card (JSON-able dict) to `path`, with its own digest. Returns it."""
    facts = {**facts, "card_sha256": card_digest(facts)}
    runs.write_json(path, facts)
    return facts


def measured(name):
    """The record of a benchmark, benchmarks/results/NAME.json, as a dict. Raises Error for an unknown name."""
    inside, beside = Path(__file__).parent / "results", Path(__file__).parents[1] / "benchmarks" / "results"
    folder = inside if inside.is_dir() else beside  # an installed package has them inside, a checkout beside it
    choose("measurement", str(name), sorted(p.stem for p in folder.glob("*.json")))
    return runs.read_json(folder / f"{name}.json")


def load(name, device=None):
    """Return a trained network in eval mode: a published one by name, or a path to NAME.safetensors with its card.

    Raises Error for an unknown name, and for a file that is not what its card says: the wrong bytes, a pickle, or the
    weights of another network (the first difference is named).
    """
    from gentut import training

    device = training.choose_device(device)
    weights, _ = _files(name)
    try:
        raw = weights.read_bytes()
    except OSError as why:
        raise Error(f"could not read {weights}: {why.strerror or why}") from None
    tensors = read_weights(raw, weights)
    facts = card(name)
    if runs.sha256(raw) != facts.get("sha256"):
        raise Error(f"{weights} has the SHA-256 {runs.sha256(raw)}, but its card says {facts.get('sha256')}")
    model = build(facts)
    fit_weights(model, tensors, weights)
    return model.to(device).eval()


def build(facts):
    """The untrained network that a card describes."""
    chapter = importlib.import_module(f"gentut.{choose('family', facts.get('family'), FAMILIES)}")
    if not isinstance(facts.get("config"), dict):
        raise Error("the card has no configuration, so it does not say which network this is")
    config = chapter.Config().replace(**facts["config"])
    try:
        return chapter.build(config)
    except (RuntimeError, OverflowError, MemoryError, TypeError) as why:  # PyTorch's answers to impossible sizes
        raise Error(f"the card's configuration describes no network that can be built: {why}") from None


def read_weights(raw, path="the file"):
    """Bytes of a safetensors file → dict of tensors. Raises Error for a pickle, a torn file or anything else."""
    try:
        return tensors_from_bytes(raw)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as why:
        # asked only now: a good file's first byte is part of its header's length and may be anything
        if raw[:2] == b"PK" or raw[:1] == b"\x80":
            what = f"{path} is a pickle (torch.save). Loading one can run any code, so gentut reads only safetensors"
            raise Error(what) from None
        raise Error(f"{path} is no whole safetensors file: {why}") from None


def fit_weights(model, tensors, path="the file"):
    """Put tensors into model (float16 becomes float32). Raises Error naming the first difference if they do not fit."""
    wanted = model.state_dict()
    for name, value in wanted.items():
        if name not in tensors:
            raise Error(f"{path} does not fit this network: it has no tensor {name!r}")
        if tensors[name].shape != value.shape:
            raise Error(
                f"{path} does not fit this network: {name!r} has shape {tuple(tensors[name].shape)}, "
                f"the network wants {tuple(value.shape)}"
            )
    extra = [name for name in tensors if name not in wanted]
    if extra:
        raise Error(f"{path} does not fit this network: it has an unknown tensor {extra[0]!r}")
    model.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()})


def save(model, facts, path):
    """Write weights as float16 to `path` (.safetensors) and the card beside it, with both digests. Returns the card."""
    path = Path(path)
    half = {k: v.detach().cpu().half().contiguous() for k, v in model.state_dict().items()}
    raw = tensors_to_bytes(half)
    facts = {**facts, "sha256": runs.sha256(raw), "bytes": len(raw)}
    runs.write_atomic(path, raw)
    return write_card(facts, path.with_suffix(".json"))


def card_of(run, family, metrics):
    """The card of a finished run, ready for save(): how the weights came about, and `metrics` (parts with their n)."""
    import platform

    return {
        "family": family,
        "config": run.config.to_dict(),
        "data": run.config.data,
        "data_sha256": run.data_sha256,
        "seed": run.config.seed,
        "steps": run.step,
        "seconds": round(run.seconds, 1),
        "device": run.device,
        "precision": run.precision,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "metrics": metrics,
    }


def describe(run, family):
    """Put a card beside a finished run's weights.safetensors, so that `load`, `sample` and `evaluate` take the path."""
    if run.folder is not None and run.complete:
        raw = (run.folder / "weights.safetensors").read_bytes()
        facts = {**card_of(run, family, {}), "sha256": runs.sha256(raw), "bytes": len(raw)}
        write_card(facts, run.folder / "weights.json")


def finish(run, family, name, measure):
    """End of `reproduce`: round the weights, measure what will be published, write NAME.safetensors and its card.

    measure(model) → the card's metrics. Returns the card, or None for a run that was stopped, and in processes other
    than the first.
    """
    if run.folder is None or not run.complete:
        return None
    model = half_(run.model)
    return save(model, card_of(run, family, measure(model)), run.folder / f"{name}.safetensors")


def headline(card):
    """(name, value) of the number by which networks of a family are compared; smaller is better.

    "error" is a classifier's share of wrong test pictures. "ratio" is the Fréchet distance of generated pictures over
    that of as many real ones (metrics.likeness). A model with a likelihood has nats per image. "loss" is that of
    training, where nothing better is known.
    """
    test = card["metrics"]["test"]
    key = next(key for key in HEADLINES if key in test)
    return key, test[key]


def headline_text(card):
    """The same as words: two decimals, or four of a number below 1."""
    key, value = headline(card)
    return f"{key} {value:.{4 if value < 1 else 2}f}"


def publish(weights):
    """Replace a published network by the weights file `weights` (with its card) if its headline number is better.

    A network's companion goes with it, and must lie beside it. Returns a sentence that says what was done.
    """
    weights = Path(weights)
    load(weights, "cpu")  # refuses anything that is not whole
    new, name = card(weights), weights.stem
    if name in names():
        old = card(name)
        if headline(new)[1] >= headline(old)[1] and old["config"] == new["config"]:
            return f"{name}: kept, {headline_text(old)} is no worse than {headline_text(new).split()[1]}"
    files = [weights.name, *([COMPANIONS[name]] if name in COMPANIONS else [])]
    for file in files:
        if not weights.with_name(file).is_file():
            raise Error(f"{name} is published together with {file}, which should lie beside it")
    for file in files:
        runs.write_atomic(FOLDER / file, weights.with_name(file).read_bytes())
    write_card(new, FOLDER / f"{name}.json")
    return f"{name}: published, {headline_text(new)}"


def half_(model):
    """Round the weights to float16 in place, as publishing does: what is measured is then what is published."""
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(value.half())
    return model


def _files(name):
    """(weights, card) of a published name or of a path."""
    path = Path(name)
    if path.suffix == ".safetensors" or len(path.parts) > 1 or path.is_file():
        if not path.is_file() and path.suffix != ".safetensors":
            path = path.with_name(path.name + ".safetensors")
        if not path.is_file():
            raise Error(f"there is no weights file {path}")
        return path, path.with_suffix(".json")
    choose("published network", str(name), names())
    return FOLDER / f"{name}.safetensors", FOLDER / f"{name}.json"
