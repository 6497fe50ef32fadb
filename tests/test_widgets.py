"""The widgets: what they send to a page, what they refuse, and that nn.js computes what torch computes (under node)."""

import base64
import copy
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from gentut import Error, checkpoints, data, vae
from gentut.widgets import LatentGrid, MoonMorph, base, pack
from tests.javascript import node

TESTS = Path(__file__).parent


def build(**changes):
    """An untrained network, its weights enlarged so that pictures have contrast and codes spread."""
    model = vae.build(vae.Config(**changes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    return model


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist-mini")


@pytest.fixture(scope="module")
def grid(digits):
    return LatentGrid.from_model(build(), images=digits.test_images, labels=digits.test_labels)


@pytest.fixture(scope="module")
def moons():
    """Four small networks, untrained: what they draw is no matter here."""
    a, b, c, d = (build(latent=1, encoder=(16,), decoder=(16,), seed=s) for s in range(4))
    return {"many": (a, b), "two": (c, d)}


# ------------------------------------------------------------------------------------------------- JavaScript = torch


def case(name, module, x, tolerance, packed):
    """A network, its input and torch's output for tests/js/nn.test.js. x: (batch, in); packed: what pack returns."""
    spec, weights = packed
    with torch.no_grad():
        y = module(x).flatten(1)
    return {
        "name": name,
        "spec": spec,
        "weights": base64.b64encode(weights).decode(),
        "batch": len(x),
        "inputs": x.flatten().tolist(),
        "outputs": y.flatten().tolist(),
        "tolerance": tolerance,
    }


def cases():
    """Every operation alone behind a small exact layer, then whole networks at both precisions."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-6, 6, 35).reshape(5, 7)  # odd sizes reach every loop's remainder
    exact = nn.Linear(7, 7, bias=False)
    exact.weight.data = torch.eye(7)
    activations = [nn.ReLU(), nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.Tanh(), nn.Sigmoid(), nn.Identity()]
    for activation in activations:
        for where, module in [
            ("after", nn.Sequential(exact, activation)),
            ("before", nn.Sequential(activation, exact)),
        ]:
            yield case(f"{activation} {where} a layer", module, x, 1e-6, pack(module))
    big = nn.Linear(203, 201)
    with torch.no_grad():
        big.weight.copy_(torch.randint(-127, 128, big.weight.shape, generator=generator) / 64)
        big.weight[:, 0] = 127 / 64  # so that each row's scale is exactly 1/64 and int8 loses nothing
        big.weight[3] = 0
    for precision in base.PRECISIONS:
        packed = pack(big, precision)
        assert packed[0][0]["type"] == precision
        yield case(f"linear, {precision}", big, torch.randn(6, 203, generator=generator), 5e-4, packed)
    yield from pictures_through_layers(generator)
    pictures = data.to_unit(data.load("mnist-mini").train_images[:9]).flatten(1)
    z = torch.randn(9, 2, generator=generator) * 1.5
    # What nn.js makes of the weights that were sent is torch's answer for those weights. Against the weights that were
    # trained, int8 shows its rounding; float16 keeps 11 bits.
    for precision, tolerance in [
        ("float16", {"decoder": 0.004, "encoder": 0.02}),
        ("int8", {"decoder": 0.06, "encoder": 0.1}),
    ]:
        model, widget = published(precision)
        for name, module, x in [
            ("decoder", nn.Sequential(model.decoder, nn.Sigmoid()), z),
            ("encoder", model.encoder, pictures),
        ]:
            packed = widget.networks[name], widget.weights
            yield case(f"published {name} as sent, {precision}", sent(module, *packed), x, 5e-4, packed)
            yield case(f"published {name}, {precision}", module, x, tolerance[name], packed)


def exactly(layer, generator, scale=64):
    """The layer with weights and biases that are whole numbers over `scale`: float16 and int8 hold them exactly."""
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randint(-127, 128, p.shape, generator=generator) / scale)
        transposed = isinstance(layer, nn.ConvTranspose2d)
        layer.weight[(0 if transposed else slice(None)), (slice(None) if transposed else 0)] = 127 / scale
    return layer


# Kernel, stride, padding, dilation, output_padding (of the transposed one), channels in and out, rows and columns that
# come in: odd and even, wide and tall, more and fewer pixels than are computed together, padding wider than the kernel.
CONVOLUTIONS = [
    (3, 1, 1, 1, 0, 3, 4, (7, 5)),
    (1, 1, 0, 1, 0, 5, 3, (6, 9)),
    (4, 2, 1, 1, 0, 2, 6, (7, 7)),
    ((2, 5), (1, 3), (0, 2), 1, (0, 2), 3, 5, (5, 8)),
    ((5, 3), (2, 1), (3, 0), (1, 2), (1, 0), 4, 2, (9, 7)),
    (3, 2, 4, 2, 1, 1, 1, (4, 6)),
    (2, 3, 0, 1, 2, 2, 3, (8, 8)),
    (3, (3, 2), (1, 0), (2, 1), (2, 1), 2, 2, (11, 13)),
]


def pictures_through_layers(generator):
    """Convolutions, their transposes and group norms, each alone; what has more than 40,000 weights also as int8."""

    def drawn(*shape):
        return torch.randn(3, *shape, generator=generator)

    for kernel, stride, padding, dilation, extra, i, o, size in CONVOLUTIONS:
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        for layer in (
            nn.Conv2d(i, o, kernel, **options),
            nn.ConvTranspose2d(i, o, kernel, output_padding=extra, **options, bias=i != 2),
        ):
            packed = pack(exactly(layer, generator), shape=(i, *size))
            yield case(f"{layer} on {size}", layer, drawn(i, *size), 5e-5, packed)
    for layer in (nn.Conv2d(72, 64, 3, padding=1), nn.ConvTranspose2d(64, 41, 4, stride=2, padding=1)):
        for precision in base.PRECISIONS:
            shape = (layer.in_channels, 5, 4)
            packed = pack(exactly(layer, generator), precision, shape=shape)
            assert packed[0][0]["type"] == precision
            yield case(f"{layer}, {precision}", layer, drawn(*shape), 1e-3, packed)
    for groups, options in ((1, {}), (3, {"eps": 0.1}), (6, {}), (2, {"affine": False})):
        layer = nn.GroupNorm(groups, 6, **options)
        for shape in ((6, 3, 5), (6, 4), (6,)):
            if layer.num_groups == 6 and len(shape) == 1:
                continue  # one number alone has no variance
            with torch.no_grad():
                for p in layer.parameters():
                    p.normal_(generator=generator)
            yield case(f"{layer} on {shape}", layer, 3 * drawn(*shape) + 2, 5e-5, pack(layer, shape=shape))
    layers = nn.Sequential(
        nn.Linear(4, 96), nn.Unflatten(1, (8, 3, 4)), nn.GroupNorm(4, 8), nn.SiLU(),
        nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1), nn.SiLU(), nn.Conv2d(6, 3, 3, stride=2), nn.Flatten(),
        nn.Linear(18, 5),
    )
    yield case("a chain of all of them", layers, drawn(4), 3e-3, pack(layers))


@pytest.fixture(scope="module")
def fixture_file(tmp_path_factory):
    bits = np.arange(1 << 16, dtype="<u2")
    halves = bits.view("<f2").astype(float)
    names = {np.inf: "Infinity", -np.inf: "-Infinity"}
    content = {
        "networks": list(cases()),
        "float16": {
            "raw": base64.b64encode(bits.tobytes()).decode(),
            "values": ["NaN" if v != v else names.get(v, repr(float(v))) for v in halves],
        },
        "positions": {n: norm.ppf(np.linspace(0.05, 0.95, n)).tolist() for n in (5, 12, 20)},
        "quantiles": [(p, norm.ppf(p)) for p in (1e-9, 0.001, 0.0242, 0.0243, 0.3, 0.5, 0.8, 0.976, 0.9999)],
        "moons": [
            {"phase": p, "picture": data.moon(torch.tensor([p])).flatten().tolist()}
            for p in (0.0, 0.13, 0.5, 0.77, 1.0)
        ],
    }
    path = tmp_path_factory.mktemp("js") / "fixture.json"
    path.write_text(json.dumps(content))
    return path


def test_javascript_under_node(fixture_file):
    """Everything in tests/js, on what torch computed here."""
    files = sorted(map(str, (TESTS / "js").glob("*.test.js")))
    assert len(files) >= 2
    env = os.environ | {"GENTUT_JS_FIXTURE": str(fixture_file)}
    run = subprocess.run([node(), "--test", *files], capture_output=True, text=True, env=env, timeout=120)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    passed = int(run.stdout.split("# pass ")[1].split()[0]) if "# pass " in run.stdout else run.stdout.count("✔")
    assert passed >= len(list(cases())) + 10


@pytest.mark.parametrize("widget", [LatentGrid, MoonMorph])
def test_the_joined_module_is_one_that_a_page_can_load(widget, tmp_path):
    """As a blob: nothing left to import, no name declared twice, a default export with render."""
    code = widget._esm if isinstance(widget._esm, str) else str(widget._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    run = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert run.stdout.strip() == "[ 'default' ] function", run.stderr
    assert "http" not in code.replace("http-equiv", ""), "a widget names no address"


# ------------------------------------------------------------------------------------------------ the picture is kept


@functools.lru_cache
def published(precision="int8"):
    """The published network and the widget that the book makes of it."""
    model, digits = checkpoints.load("vae-2d", "cpu"), data.load("mnist-mini")
    grid = LatentGrid.from_model(model, images=digits.test_images, labels=digits.test_labels, precision=precision)
    return model, grid


@torch.no_grad()
def sent(module, spec, raw):
    """The network that a page will run: pack's bytes turned back into torch, by numpy and not by nn.js."""
    module = copy.deepcopy(module)
    layers = iter([m for m in module.modules() if isinstance(m, nn.Linear)])
    for op in (op for op in spec if op["op"] == "linear"):
        size, layer = op["in"] * op["out"], next(layers)
        if op["type"] == "int8":
            rows = np.frombuffer(raw, "i1", size, op["weight"]).reshape(op["out"], op["in"])
            weight = rows * np.frombuffer(raw, "<f4", op["out"], op["scale"])[:, None]
        else:
            weight = np.frombuffer(raw, "<f2", size, op["weight"]).reshape(op["out"], op["in"])
        layer.weight.copy_(torch.from_numpy(weight.astype("f4")))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(np.frombuffer(raw, "<f4", op["out"], op["bias"]).copy()))
    return module


@pytest.mark.parametrize(
    ("precision", "mean", "nearly_all", "most"), [("int8", 0.001, 0.012, 0.06), ("float16", 1e-4, 0.001, 0.004)]
)
@torch.no_grad()
def test_pictures_stay_the_same_to_the_eye(precision, mean, nearly_all, most):
    """Change of a pixel by the weights' precision, at codes that rounding has not seen: mean, 999 in 1,000, worst."""
    model, widget = published(precision)
    decoder = nn.Sequential(model.decoder, nn.Sigmoid())
    z = 1.3 * torch.randn(1500, 2, generator=torch.Generator().manual_seed(0))
    off = (decoder(z) - sent(decoder, widget.networks["decoder"], widget.weights)(z)).abs()
    assert off.mean() <= mean
    assert np.quantile(off.numpy(), 0.999) <= nearly_all
    assert off.max() <= most


@pytest.mark.parametrize(("precision", "median", "nearly_all"), [("int8", 0.03, 0.3), ("float16", 0.005, 0.1)])
@torch.no_grad()
def test_codes_stay_where_they_are(digits, precision, median, nearly_all):
    """Posterior means of pictures that rounding has not seen move by a small part of their own spread."""
    model, widget = published(precision)
    x = data.to_unit(digits.train_images[:1500])
    mu, log_var = model.encode(x)
    page = sent(model.encoder, widget.networks["encoder"], widget.weights)(x)[:, :2]
    moved = ((page - mu).abs() / (log_var / 2).exp()).numpy()
    assert np.median(moved) <= median
    assert np.quantile(moved, 0.99) <= nearly_all


@torch.no_grad()
def test_rounding_with_inputs_beats_rounding_to_the_nearest():
    """On correlated inputs the error of the outputs falls by several times; without inputs it is plain rounding."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 200, generator=generator).numpy()
    x = (torch.randn(600, 8, generator=generator) @ torch.randn(8, 200, generator=generator)).numpy()
    rows, scale = base.round_rows(weight)
    assert np.abs(rows * scale - weight).max() <= scale.max() / 2 * 1.0001
    taught, same_scale = base.round_rows(weight, x[:300])
    assert (same_scale == scale).all() and taught.dtype == np.int8
    error = [np.abs(x[300:] @ (r * scale - weight).T).mean() for r in (rows, taught)]
    assert error[1] < error[0] / 4, error
    silent = base.round_rows(weight, np.zeros((5, 200), "f4"))[0]  # nothing to learn from: still plain rounding
    assert (silent == rows).all()


# -------------------------------------------------------------------------------------------------------- what is sent


def raw_bytes(widget):
    """Bytes of a widget's state: buffers as they are, the rest as JSON."""
    state = {k: v for k, v in widget.get_state().items() if k not in ("layout", "tabbable", "tooltip")}
    buffers = [v for v in state.values() if isinstance(v, (bytes, memoryview))]
    rest = {k: v for k, v in state.items() if not isinstance(v, (bytes, memoryview))}
    return sum(map(len, buffers)) + len(json.dumps(rest))


def test_the_state_of_a_widget_stays_below_700_kb(digits, moons):
    big = build(encoder=(256, 128), decoder=(256, 256))
    assert sum(p.numel() for p in big.parameters()) >= 490_000
    widget = LatentGrid.from_model(big, images=digits.test_images, labels=digits.test_labels)
    assert len(widget.labels) == 2000
    assert raw_bytes(widget) <= 700_000
    assert raw_bytes(published()[1]) <= 700_000
    wide = [build(latent=1, encoder=(64,), decoder=(64,)) for _ in range(2)]
    assert raw_bytes(MoonMorph.from_models(many=wide, two=wide)) <= 350_000


@torch.no_grad()
def test_latent_grid_sends_codes_labels_and_examples(grid, digits):
    model = build()
    mu = model.encode(data.to_unit(digits.test_images))[0]
    codes = np.frombuffer(grid.codes, "<f2").reshape(-1, 2)
    np.testing.assert_allclose(codes, mu, rtol=2e-3, atol=1e-3)
    assert list(grid.labels) == digits.test_labels.tolist()
    examples = np.frombuffer(grid.examples, "u1").reshape(-1, 28, 28)
    assert sorted(grid.example_labels) == [k for k in range(10) for _ in range(2)]
    for picture, label in zip(examples, grid.example_labels, strict=True):
        at = (digits.test_images == torch.from_numpy(picture.copy())).all(2).all(1).nonzero()
        assert label in digits.test_labels[at[:, 0]].tolist()
    assert 3 <= grid.reach <= 8
    assert (grid.n, grid.extent, grid.z) == (20, pytest.approx(norm.ppf(0.95)), [0, 0])


@torch.no_grad()
def test_moon_morph_sends_the_codes_of_both_ends(moons):
    widget = MoonMorph.from_models(**moons)
    assert set(widget.networks) == set(widget.ends) == {"many-ae", "many-vae", "two-ae", "two-vae"}
    full, half = moons["two"][1].encode(data.moon([1.0, 0.0]))[0][:, 0].tolist()
    assert widget.ends["two-vae"] == pytest.approx([full, half])
    assert widget.trained == "many"


def test_pack_all_keeps_networks_apart():
    """Two networks in one trait: each is read from its own place."""
    first, second = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 5), nn.Tanh())
    specs, raw = base.pack_all({"a": first, "b": second}, "float16")
    at = specs["b"][0]
    assert np.frombuffer(raw, "<f2", 10, at["weight"]).tolist() == second[0].weight.detach().half().flatten().tolist()
    assert np.frombuffer(raw, "<f4", 5, at["bias"]).tolist() == second[0].bias.tolist()
    assert len(raw) == len(pack(first, "float16")[1]) + len(pack(second, "float16")[1])


def test_the_package_is_imported_lazily():
    code = "import sys, gentut.widgets; print([m for m in ('torch', 'anywidget') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("module", "precision", "said"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout()), "int8", r"layer Dropout.*: Linear, Conv2d, .*Identity, and"),
        (nn.Conv1d(1, 2, 3), "int8", "cannot run the layer Conv1d"),
        (nn.Conv2d(1, 2, 3), "int8", r"pass shape=\(channels, rows, columns\).* nothing before Conv2d"),
        (nn.GroupNorm(1, 2), "int8", r"pass shape=.* nothing before GroupNorm"),
        (nn.Conv2d(2, 2, 3, groups=2), "int8", "convolutions with groups=1"),
        (nn.Conv2d(2, 2, 3, padding="same"), "int8", "a number of zeros as padding"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "int8", "a number of zeros as padding"),
        (nn.Linear(2, 2), "int4", r"unknown precision 'int4'\. There are: int8, float16"),
        ("vae-2d", "int8", "expected a torch.nn.Module, got str"),
    ],
)
def test_pack_refuses(module, precision, said):
    with pytest.raises(Error, match=said):
        pack(module, precision)


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((2, 5, 5), nn.Conv2d(3, 1, 3)),
        ((3, 5), nn.Conv2d(3, 1, 3)),
        ((3, 2, 5), nn.Conv2d(3, 1, 3)),
        ((1, 1, 1), nn.ConvTranspose2d(1, 1, 2, padding=1)),
        ((8,), nn.GroupNorm(2, 4)),
        ((4, 2, 1), nn.Linear(8, 2)),
        ((7,), nn.Sequential(nn.Identity(), nn.Unflatten(1, (2, 4)))),
    ],
    ids=str,
)
def test_pack_refuses_layers_that_do_not_fit_what_they_are_given(shape, layer):
    """Flat numbers would pass through nn.js and come out as nonsense."""
    with pytest.raises(Error, match=f"does not fit what it is given.*{re.escape(str(shape))}"):
        pack(layer, shape=shape)


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "not finite"), (1e5, "float16's range")])
def test_pack_refuses_weights_that_a_page_cannot_hold(value, said):
    layer = nn.Linear(2, 2)
    layer.weight.data[0, 0] = value
    with pytest.raises(Error, match=said):
        pack(layer)


def grid_of(images, labels, **changes):
    return LatentGrid.from_model(changes.pop("model", None) or build(), images=images, labels=labels, **changes)


def images(n=4, **options):
    return torch.zeros((n, 28, 28), **({"dtype": torch.uint8} | options))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: grid_of(images(), torch.arange(4), model=build(latent=20)),
            r"latent=2: encoder 784 → 4; this one's is 784 → 40",
        ),
        (lambda: grid_of(images(), torch.arange(4), model=nn.Linear(2, 2)), "Linear has no encoder"),
        (
            lambda: grid_of(images(dtype=torch.float32), torch.arange(4)),
            r"uint8 of shape \(n, 28, 28\), got torch.float32",
        ),
        (lambda: grid_of(images()[:, :20], torch.arange(4)), r"got torch.uint8 \(4, 20, 28\)"),
        (lambda: grid_of(images(0), torch.arange(0)), r"got torch.uint8 \(0, 28, 28\)"),
        (lambda: grid_of(images(), torch.arange(3)), r"shape \(4,\), one an image, got torch.int64 \(3,\)"),
        (lambda: grid_of(images(), torch.rand(4)), "labels must be whole numbers"),
        (lambda: grid_of(images(), torch.arange(4) + 8), "labels must lie in 0 to 9.*got 8 to 11"),
        (lambda: grid_of(images(), torch.arange(4), classes=list("abc")), "labels must lie in 0 to 2"),
        (lambda: grid_of(images(), torch.arange(4), classes=[]), "1 to 10 names, got 0"),
        (lambda: grid_of(images(), torch.arange(4), n=4), "from 5 to 20, got 4"),
        (lambda: grid_of(images(), torch.arange(4), n=7.5), "from 5 to 20, got 7.5"),
        (lambda: grid_of(images(), torch.arange(4), extent=99), "extent must lie between 0.25 and 3, .* got 99"),
        (lambda: grid_of(images(), torch.arange(4), precision="int16"), "unknown precision 'int16'"),
        (
            lambda: MoonMorph.from_models(many=build(latent=1), two=None),
            r"many must be a pair \(autoencoder, VAE\), got VAE",
        ),
        (lambda: MoonMorph.from_models(many=(build(), build()), two=(build(), build())), "latent=1: encoder 784 → 2"),
    ],
)
def test_constructors_refuse(make, said):
    with pytest.raises(Error, match=said):
        make()


def test_a_diverged_encoder_is_named():
    model = build()
    model.encoder[-1].bias.data[0] = 1e6
    with pytest.raises(Error, match="must be finite and below 1000"):
        grid_of(images(), torch.arange(4), model=model)
