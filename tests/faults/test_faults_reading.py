"""Fuzzing of all that reads a file: whatever the bytes, a value or gentut.Error, and nothing else."""

import json
import math
import struct

import harm
import numpy as np
import pytest
import torch
from harm import CHAPTERS, SOAK, same
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gentut import Error, checkpoints, data, runs

MANY = settings(max_examples=2000 if SOAK else 60)
sizes = st.sampled_from([0, 1, 2, 3, 28, 255, 2**31 - 1, 2**31, 2**32 - 1])


def value_or_error(read, *arguments):
    """("value", what it gives) or ("clear error", None); any other exception is a failure."""
    try:
        return "value", read(*arguments)
    except Error as why:
        assert str(why).strip()
        return "clear error", None


# Each test counts its examples. The count goes to the tally afterwards: hypothesis calls the inner function many times.


def many(tally, kind, strategy, check, *examples, settings=MANY):
    """check(value) → how it ended, for many values of the strategy."""

    @settings
    @given(strategy)
    def each(value):
        tally.tried(kind)
        tally.survived(kind, check(value))

    for value in examples:
        each = example(value)(each)
    each()


@st.composite
def idx_files(draw):
    """Bytes that are nearly an IDX file: each part right, or wrong, or cut off."""
    magic = draw(st.sampled_from([b"\0\0\x08\x01", b"\0\0\x08\x03", b"\0\0\x08\x03", b"\0\0\x09\x03", b"\0\0\x08\x02"]))
    shape = draw(st.lists(sizes | st.integers(0, 4), min_size=magic[3], max_size=magic[3]))
    size = math.prod(shape)
    body = bytes(draw(st.sampled_from([size if size < 5000 else 7, 0, 1, 784])))
    raw = magic + b"".join(n.to_bytes(4, "big") for n in shape) + body
    return raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw


def header(*shape):
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


def test_idx_files(tally):
    def check(raw):
        how, array = value_or_error(data.read_idx, raw)
        if how == "value":
            assert array.dtype == np.uint8 and raw == header(*array.shape) + array.tobytes()
        return how

    empty = [header(0, 2**32 - 1, 2**32 - 1), header(2**32 - 1, 0, 5), header(0)]  # no data of an impossible shape
    many(tally, "fuzzing, IDX", idx_files() | st.binary(max_size=99), check, *empty)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
entries = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "U16", "C64", "X", ""]),
    "shape": st.lists(st.sampled_from([0, 1, 2, 3, 2**40, 2**63 - 1]), max_size=3),
    "data_offsets": st.tuples(st.sampled_from([0, 4, 8, 12, 24, 2**63]), st.sampled_from([0, 4, 8, 12, 24, 2**64 - 1])),
})
metadata = st.dictionaries(st.sampled_from(["facts", "sha256", "x"]), st.text(max_size=6) | json_values, max_size=3)


@st.composite
def safetensors_files(draw):
    """Bytes that are nearly a safetensors file."""
    names = st.sampled_from(["a", "b", "encoder.0.weight", ""])
    about = draw(st.dictionaries(names, entries | json_values, max_size=3))
    if draw(st.booleans()):
        about["__metadata__"] = draw(metadata)
    text = json.dumps(about).encode()
    length = draw(st.sampled_from([len(text), len(text), len(text), len(text) - 1, 0, 2**63]))
    return length.to_bytes(8, "little") + text + bytes(draw(st.sampled_from([0, 4, 8, 12, 24])))


def test_safetensors_files(tally):
    def check(raw):
        how, tensors = value_or_error(checkpoints.read_weights, raw)
        if how == "value":
            assert all(torch.is_tensor(t) for t in tensors.values())
        return how

    deep = (b"[" * 50_000).join([struct.pack("<Q", 50_000), b""])
    many(tally, "fuzzing, safetensors", safetensors_files() | st.binary(max_size=99), check, deep)


def test_state_files(tally):
    def check(raw):
        how, _ = value_or_error(runs.unpack_state, raw)
        assert how == "clear error"  # none of them has the digest
        return how

    many(tally, "fuzzing, states", safetensors_files() | st.binary(max_size=99), check)


def test_cards_of_any_bytes(tmp_path, tally):
    config = harm.CONFIGS["vae"]
    path = tmp_path / "one.safetensors"
    checkpoints.save(harm.CHAPTERS["vae"].build(config), {"family": "vae", "config": config.to_dict()}, path)
    about, good = path.with_suffix(".json"), checkpoints.card(path)

    def check(text):
        about.write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())
        how, card = value_or_error(checkpoints.card, path)
        assert how == "clear error" or same(card, good)
        return how

    deep = [b'{"a":' * 50_000, b"[" * 50_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}"]
    many(tally, "fuzzing, cards", st.binary(max_size=50) | json_values, check, *deep)


@st.composite
def strange_cards(draw):
    """(family, card): a card with some of its values replaced by others. Sizes are small: a big network is no error."""
    family = draw(st.sampled_from(sorted(harm.CONFIGS)))
    config = harm.CONFIGS[family].to_dict()
    small = st.integers(-3, 9) | st.sampled_from([2**62, 10**30, 0.5, math.nan, -math.inf, True, None, "", "relu"])
    others = json_values.filter(lambda v: not isinstance(v, int) or abs(v) > 2**40)
    values = small | st.lists(small, max_size=3) | others
    for name in draw(st.lists(st.sampled_from([*config, "unknown"]), max_size=3, unique=True)):
        config[name] = draw(values)
    card = {"family": family, "config": config}
    for name in draw(st.lists(st.sampled_from(["family", "config"]), max_size=1)):
        card[name] = draw(json_values)
    return family, card


def test_cards_that_are_sealed_but_strange(tmp_path, tally):
    """A card by somebody else: its digests are right, but what it describes need not be a network, or another one."""
    paths = {}
    for family, config in harm.CONFIGS.items():
        paths[family] = tmp_path / f"{family}.safetensors"
        checkpoints.save(CHAPTERS[family].build(config), {"family": family, "config": config.to_dict()}, paths[family])
    stated = {family: checkpoints.card(path) for family, path in paths.items()}

    def check(drawn):
        family, card = drawn
        path = paths[family]
        checkpoints.write_card({**card, "sha256": stated[family]["sha256"]}, path.with_suffix(".json"))
        how, model = value_or_error(checkpoints.load, path, "cpu")
        if how == "value":  # what was changed changes no weight's shape, as the seed
            stored = checkpoints.read_weights(path.read_bytes())
            assert same({k: v.half() for k, v in model.state_dict().items()}, stored)
        return how

    fewer = settings(max_examples=500 if SOAK else 40)  # each builds a network
    many(tally, "fuzzing, sealed cards", strange_cards(), check, settings=fewer)


@pytest.mark.parametrize("name", ["config.json", "log.jsonl"])
def test_a_runs_small_files(tmp_path, tally, name):
    """A run with any bytes in place of its configuration is refused; its log is written anew from the state."""
    out, config = tmp_path / "run", harm.CONFIGS["vae"].replace(steps=2)
    harm.train("vae", config, out)
    whole = {p.name: p.read_bytes() for p in out.iterdir()}
    kind = f"fuzzing, {name}"
    rounds = iter(range(40 if SOAK else 4))

    @settings(max_examples=40 if SOAK else 4)
    @given(st.binary(max_size=60) | json_values)
    def each(content):
        if next(rounds, None) is None:
            return
        tally.tried(kind)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (out / name).write_bytes(raw)
        how, run = value_or_error(harm.train, "vae", config, out, True)
        assert how == ("clear error" if name == "config.json" else "value")
        if run:
            assert (out / name).read_bytes() == whole[name]
        tally.survived(kind, "clear error" if not run else "written anew")
        (out / name).write_bytes(whole[name])

    each()
