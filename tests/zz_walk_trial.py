"""LatentWalk: what it sends and refuses, how its traits agree, and that its JavaScript computes what Python does."""

import base64
import copy
import json
import math
import subprocess

import numpy as np
import pytest
import torch
from scipy.stats import chi
from torch import nn

from gentut import Error, checkpoints, gan
from gentut.widgets import LatentWalk, base, pack
from gentut.widgets import gan as widget_module
from gentut.widgets.gan import between, normals
from tests.javascript import call, node

FILE = "gan-maths.js"
NET = "network(spec, Uint8Array.from(atob(raw), c => c.charCodeAt(0)), room)"


def build(**changes):
    """An untrained GAN, its weights enlarged so that pictures have contrast and differ."""
    model = gan.build(gan.Config(**{"generator": (16, 8, 4), "discriminator": (4, 4, 4)} | changes)).eval()
    with torch.no_grad():
        for p in model.generator.parameters():
            p.mul_(2)
    return model


@pytest.fixture(scope="module")
def published():
    return checkpoints.load('/work/scratch/walk5/run/weights.safetensors', 'cpu')


@pytest.fixture
def walk():
    return LatentWalk.from_model(build())


def some_z(n, latent, seed=0):
    return torch.randn(n, latent, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------- JavaScript = Python


def run(spec, raw, z):
    """What nn.js makes of the packed generator, (n, 784): each z alone and all together must agree."""
    given = {"spec": spec, "raw": base64.b64encode(raw).decode(), "z": z.flatten(), "room": len(z)}
    together = call("nn.js", f"{NET}.forward(Float32Array.from(z), room)", **given)
    each = "Float32Array.from(z.slice(k * net.inputs, (k + 1) * net.inputs))"
    every = f"Array.from({{ length: room }}, (_, k) => [...net.forward({each}).slice(0, net.outputs)]).flat()"
    alone = call("nn.js", f"(net => {every})({NET})", **given)
    together, alone = (torch.tensor(v).view(len(z), 784) for v in (together, alone))
    assert (together - alone).abs().max() < 1e-5
    return together


@torch.no_grad()
def sent(generator, spec, raw):
    """The generator that a page runs: pack's bytes turned back into torch, by numpy and not by nn.js."""
    twin = copy.deepcopy(generator)
    layers = [m for m in twin.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.GroupNorm))]
    ops = [op for op in spec if "weight" in op]
    assert len(ops) == len(layers)
    for op, layer in zip(ops, layers, strict=True):
        shape, size = layer.weight.shape, layer.weight.numel()
        if op["op"] == "group_norm":
            weight = np.frombuffer(raw, "<f4", size, op["weight"])
        elif op["type"] == "int8":
            rows = op["out"] * (math.prod(op["kernel"]) if op["op"] == "conv_transpose2d" else 1)
            scale = np.frombuffer(raw, "<f4", rows, op["scale"])[:, None]
            weight = np.frombuffer(raw, "i1", size, op["weight"]).reshape(rows, -1) * scale
        else:
            weight = np.frombuffer(raw, "<f2", size, op["weight"])
        weight = torch.from_numpy(weight.astype("f4"))
        if op["op"] == "conv_transpose2d":  # its rows are (out, kernel), its columns are in
            weight = weight.view(op["out"], *op["kernel"], op["in"]).permute(3, 0, 1, 2)
        layer.weight.copy_(weight.reshape(shape))
        layer.bias.copy_(torch.from_numpy(np.frombuffer(raw, "<f4", layer.bias.numel(), op["bias"]).copy()))
    return twin


@pytest.mark.parametrize("precision", base.PRECISIONS)
@torch.no_grad()
def test_the_published_generator_in_the_page_is_torchs(published, precision):
    """nn.js against torch on the weights as sent, and against the published ones, in grey levels of [-1, 1]."""
    z = some_z(12, published.latent)
    packed = pack(published.generator, precision)
    shown = run(*packed, z)
    as_sent = sent(published.generator, *packed)(z).flatten(1)
    assert (shown - as_sent).abs().max() <= 2e-4
    assert as_sent.std() > 0.3, "blank pictures prove nothing"
    assert (shown - published(z).flatten(1)).abs().max() <= {"float16": 0.01, "int8": 0.12}[precision]


@pytest.mark.parametrize(
    ("precision", "mean", "nearly_all", "most"), [("int8", 0.001, 0.02, 0.08), ("float16", 1e-4, 0.001, 0.005)]
)
@torch.no_grad()
def test_pictures_stay_the_same_to_the_eye(published, precision, mean, nearly_all, most):
    """Change of a pixel in [0, 1] by the weights' precision over 500 pictures: mean, 999 in 1,000, worst."""
    z = some_z(500, published.latent, seed=5)
    off = (sent(published.generator, *pack(published.generator, precision))(z) - published(z)).abs() / 2
    assert off.mean() <= mean
    assert np.quantile(off.numpy(), 0.999) <= nearly_all
    assert off.max() <= most


@pytest.mark.parametrize("config", [{}, {"latent": 3, "generator": (8, 12, 4)}, {"kind": "mlp", "generator": (30, 50)}])
@torch.no_grad()
def test_any_small_generator_of_the_chapter_runs_in_the_page(config):
    model = build(**config)
    z = some_z(5, model.latent)
    want = model(z).flatten(1)
    assert want.std() > 0.02
    walk = LatentWalk.from_model(model, precision="float16")
    assert (run(walk.network, walk.weights, z) - want).abs().max() <= 0.01


@pytest.mark.parametrize("seed", [0, 1, 77, 2**31 - 1])
def test_ends_are_the_pages_own_normal_numbers(seed):
    """What Python draws from a seed the page draws too, but for the last digit of a logarithm and a cosine."""
    assert call(FILE, "drawn(seed, 20)", seed=seed) == pytest.approx(normals(seed, 20), abs=1e-12)


def test_the_numbers_drawn_are_standard_normal():
    z = torch.tensor([normals(seed, 20) for seed in range(500)])
    assert z.mean().abs() < 0.03 and (z.std() - 1).abs() < 0.02
    assert abs((z.norm(dim=1) < chi.ppf(0.5, 20)).float().mean() - 0.5) < 0.07
    assert len({tuple(row) for row in z.tolist()}) == 500


CASES = {
    "two draws": (normals(1, 20), normals(2, 20)),
    "of different length": ([3.0, 0.0, 0.0], [0.0, 0.5, 0.5]),
    "the same way": ([1.0, 2.0], [2.0, 4.0]),
    "opposite": ([1.0, 2.0], [-1.0, -2.0]),
    "from nothing": ([0.0, 0.0], [1.0, 2.0]),
}


@pytest.mark.parametrize("path", widget_module.PATHS)
@pytest.mark.parametrize("ends", CASES)
def test_paths_in_the_page_are_pythons(path, ends):
    a, b = CASES[ends]
    t = [0, 0.1, 0.5, 0.93, 1]
    want = between(a, b, t, path)
    assert torch.tensor(call(FILE, "t.map(v => between(a, b, v, path))", a=a, b=b, t=t, path=path)).allclose(
        want.float(), atol=1e-6)
    assert want[0].tolist() == pytest.approx(a) and want[-1].tolist() == pytest.approx(b)
    assert between(a, b, 0.1, path).tolist() == pytest.approx(want[1].tolist())


@pytest.mark.parametrize("n", [2, 3, 7, 20, 40])
def test_the_share_of_shorter_z_is_the_chi_distribution(n):
    r = [0, 1e-3, 0.5, 1, 3, 4.4, 6, 9, 20, 31.6, 60]
    got = call(FILE, "r.map(v => shorter(v, n))", r=r, n=n)
    assert got == pytest.approx(chi.cdf(r, n), rel=1e-9, abs=1e-14)


# ------------------------------------------------------------------------------------------------------------ the paths


def test_the_spherical_path_keeps_the_usual_length_and_the_straight_one_does_not():
    """The reason for it: halfway between independent z a straight path is too short for N(0, I) in 20 dimensions."""
    low, high = chi.ppf([0.025, 0.975], 20)
    ends = [(normals(2 * k, 20), normals(2 * k + 1, 20)) for k in range(200)]
    ends = [(a, b) for a, b in ends if all(low < torch.tensor(z).norm() < high for z in (a, b))]
    middle = {path: torch.stack([between(a, b, 0.5, path).norm() for a, b in ends]) for path in widget_module.PATHS}
    assert ((middle["spherical"] > low) & (middle["spherical"] < high)).all()
    assert 0.4 < (middle["straight"] < low).float().mean() < 0.6
    assert (middle["spherical"] / middle["straight"]).mean() == pytest.approx(2**0.5, rel=0.05)


def test_the_spherical_path_turns_evenly_and_its_length_goes_evenly():
    a, b = (torch.tensor(normals(seed, 20), dtype=torch.double) for seed in (3, 4))
    z = between(a, b, torch.linspace(0, 1, 9))
    assert z.norm(dim=1).tolist() == pytest.approx(torch.linspace(a.norm(), b.norm(), 9).tolist())
    way = z / z.norm(dim=1, keepdim=True)
    turns = torch.acos((way[1:] * way[:-1]).sum(1))
    assert turns.tolist() == pytest.approx([turns.mean().item()] * 8)
    assert turns.sum() == pytest.approx(torch.acos(a @ b / (a.norm() * b.norm())).item())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 2], [1, 2, 3], 0.5), r"one shape \(latent,\).* got \(2,\), \(3,\) and \(\)"),
        (([[1, 2]], [[1, 2]], 0.5), r"got \(1, 2\), \(1, 2\)"),
        (([1, 2], [1, 2], [[0.5]]), r"and \(1, 1\)"),
        (([1, 2], [1, 2], 0.5, "slerp"), "unknown path 'slerp'. There are: spherical, straight"),
    ],
)
def test_between_refuses(arguments, said):
    with pytest.raises(Error, match=said):
        between(*arguments)


# --------------------------------------------------------------------------------------------------------- what is sent


def raw_bytes(widget):
    state = {k: v for k, v in widget.get_state().items() if k not in ("layout", "tabbable", "tooltip")}
    return sum(len(v) if isinstance(v, (bytes, memoryview)) else len(json.dumps(v)) for v in state.values())


@pytest.mark.parametrize(("precision", "most"), [("int8", 420_000), ("float16", 640_000)])
def test_the_state_stays_below_its_budget(published, precision, most):
    walk = LatentWalk.from_model(published, precision=precision)
    assert 300_000 < len(walk.weights) < raw_bytes(walk) <= most < 700_000


def test_the_widget_begins_on_the_path(walk):
    assert (walk.seed_a, walk.seed_b, walk.position, walk.path) == (1, 2, 0.5, "spherical")
    assert walk.z_a == normals(1, 20) and walk.z_b == normals(2, 20)
    assert walk.z == between(walk.z_a, walk.z_b, 0.5).tolist()
    assert walk.usual == pytest.approx([3.097, 4.397, 5.845], abs=1e-3)
    other = LatentWalk.from_model(build(latent=3), seed_a=9, seed_b=9, position=1, path="straight")
    assert other.z == pytest.approx(normals(9, 3)) and other.path == "straight"


def test_the_joined_module_is_one_that_a_page_can_load(tmp_path):
    code = str(LatentWalk._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    done = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.strip() == "[ 'default' ] function", done.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", ""), "a widget names no address"


# --------------------------------------------------------------------------------------------------------- traits agree


def test_z_follows_the_path(walk):
    walk.position = 0.25
    assert walk.z == between(walk.z_a, walk.z_b, 0.25).tolist()
    walk.path = "straight"
    assert walk.z == between(walk.z_a, walk.z_b, 0.25, "straight").tolist()
    walk.seed_b = 17
    assert walk.z_b == normals(17, 20)
    assert walk.z == between(walk.z_a, normals(17, 20), 0.25, "straight").tolist()
    walk.z_a = [0.0] * 20
    assert walk.seed_a == -1 and walk.seed_b == 17
    assert walk.z == [0.25 * v for v in walk.z_b]
    walk.seed_a = 1
    assert walk.z_a == normals(1, 20)


def test_z_may_leave_the_path_and_comes_back(walk):
    own = [0.5] * 20
    walk.z = own
    assert (walk.z, walk.position, walk.seed_a) == (own, 0.5, 1)
    walk.position = 0.75
    assert walk.z == between(walk.z_a, walk.z_b, 0.75).tolist()


def test_what_the_page_sends_is_not_sent_back(walk):
    """The page's numbers may differ in the last digit. Were they corrected, a drag would stutter with a kernel."""
    echoes = []
    walk.observe(echoes.append, ["z", "z_a", "z_b", "seed_a", "seed_b"])
    z_a = [v * (1 + 1e-15) for v in normals(8, 20)]
    z = [v * (1 + 1e-15) for v in between(z_a, walk.z_b, 0.3).tolist()]
    walk.set_state({"seed_a": 8, "z_a": z_a, "position": 0.3, "z": z})
    assert walk.z == z and walk.z_a == z_a and walk.seed_a == 8
    assert {change.name for change in echoes} == {"z", "z_a", "seed_a"} and len(echoes) == 3
    kept = [1.0] * 20
    walk.set_state({"z": kept})
    walk.set_state({"seed_b": -1, "z_b": kept, "position": 1.0})  # "Use as B"
    assert (walk.seed_b, walk.z_b) == (-1, kept) and walk.z == pytest.approx(kept)


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("z", [0.0] * 19, "z must have 20 numbers, got 19"),
        ("z_a", [0.0] * 19 + [11.0], "z_a must hold numbers from -10 to 10, got 11.0"),
        ("z_b", [float("nan")] * 20, "z_b must hold numbers from -10 to 10, got nan"),
        ("position", 1.5, "position must lie between 0 and 1, got 1.5"),
        ("position", float("nan"), "position must lie between 0 and 1, got nan"),
        ("path", "slerp", "unknown path 'slerp'"),
        ("seed_a", -2, "seed_a must be a whole number from -1 to 2147483647, got -2"),
    ],
)
def test_traits_refuse(walk, name, value, said):
    before = copy.deepcopy(getattr(walk, name))
    with pytest.raises(Error, match=said):
        setattr(walk, name, value)
    assert getattr(walk, name) == before


def odd(**parts):
    """A GAN but for what is told."""
    model = build()
    for name, part in parts.items():
        setattr(model, name, part)
    return model


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LatentWalk.from_model(nn.Linear(2, 2)), "needs a GAN with a `generator` and a `latent`, got Linear"),
        (lambda: LatentWalk.from_model("dcgan"), "got str"),
        (lambda: LatentWalk.from_model(build(latent=1)), "a slider for each latent: 2 to 40, not 1"),
        (lambda: LatentWalk.from_model(build(latent=41)), "2 to 40, not 41"),
        (lambda: LatentWalk.from_model(odd(generator=nn.Linear(20, 784))), r"pictures \(1, 28, 28\).* shape \(784,\)"),
        (
            lambda: LatentWalk.from_model(odd(generator=nn.Sequential(*build().generator, nn.Dropout()))),
            "a page cannot run the layer Dropout",
        ),
        (
            lambda: LatentWalk.from_model(build(generator=(256, 128, 16)), precision="float16"),
            r'1,\d+,\d+ bytes; a page carries at most 700,000, and precision="int8" takes about half',
        ),
        (lambda: LatentWalk.from_model(build(), precision="int4"), "unknown precision 'int4'"),
        (lambda: LatentWalk.from_model(build(), path="slerp"), "unknown path 'slerp'"),
        (lambda: LatentWalk.from_model(build(), position=2), "position must lie between 0 and 1, got 2"),
        (lambda: LatentWalk.from_model(build(), position=True), "position must lie between 0 and 1, got True"),
        (lambda: LatentWalk.from_model(build(), seed_a=-1), "seed_a must be a whole number from 0 to"),
        (lambda: LatentWalk.from_model(build(), seed_b=1.5), "seed_b must be a whole number from 0 to"),
        (lambda: normals(-1, 3), "seed must be a whole number"),
    ],
)
def test_constructors_refuse(make, said):
    with pytest.raises(Error, match=said):
        make()
