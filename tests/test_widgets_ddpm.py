"""ReverseDiffusion: what it sends and refuses, and that its JavaScript paints what gentut.ddpm paints."""

import base64
import copy
import json
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from gentut import Error, checkpoints, data, ddpm, unet
from gentut.diffusion import Schedule
from gentut.widgets import ReverseDiffusion, base, pack
from gentut.widgets import ddpm as widget_module
from tests.javascript import call, node

FILE = "ddpm-unet.js"
BYTES = "Uint8Array.from(atob(raw), c => c.charCodeAt(0))"
RUN = "(it => { let p, parts = 0; do { p = it.next(); parts++; } while (!p.done); return [p.value, parts]; })"
SMALL = {"widths": (8, 12), "embedding": 16}


def build(**changes):
    """An untrained network with weights drawn at random, also where training begins at zero; float16 holds them."""
    model = ddpm.build(ddpm.Config(**SMALL | changes)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator)).copy_(p.half().float())
    return model


@pytest.fixture(scope="module")
def published():
    return checkpoints.load("ddpm-page", "cpu")


@pytest.fixture
def widget():
    return ReverseDiffusion.from_model(build())


def encoded(raw):
    return base64.b64encode(raw).decode()


# -------------------------------------------------------------------------------------------- operations of the runtime

MOVERS = [
    (nn.PixelUnshuffle(2), (1, 28, 28)),
    (nn.PixelUnshuffle(3), (2, 6, 9)),
    (nn.PixelShuffle(2), (8, 3, 5)),
    (nn.PixelShuffle(3), (9, 4, 2)),
    (nn.Upsample(scale_factor=2), (3, 4, 5)),
    (nn.Upsample(scale_factor=3.0), (2, 1, 4)),
]


@torch.no_grad()
def test_layers_that_move_pixels_are_torchs():
    """Alone, and between layers that want to know the shape of what they are given."""
    generator, cases, wanted = torch.Generator().manual_seed(0), [], []
    for layer, shape in MOVERS:
        x = torch.randn(3, *shape, generator=generator)
        mixing = nn.Conv2d(layer(x).shape[1], 2, 3, padding=1)
        mixing.weight.copy_(mixing.weight.half())
        for module in (nn.Sequential(layer), nn.Sequential(nn.SiLU(), layer, mixing)):
            spec, raw = pack(module, "float16", shape=shape)
            cases.append({"spec": spec, "raw": encoded(raw), "x": x.flatten().tolist()})
            wanted.append((module, module(x).flatten()))
    run = f"(({{ spec, raw, x }}) => [...network(spec, {BYTES}, 3).forward(Float32Array.from(x), 3)])"
    for got, (module, want) in zip(call("nn.js", f"cases.map({run})", cases=cases), wanted, strict=True):
        assert len(got) == len(want) and torch.tensor(got).allclose(want, atol=2e-6), module


@pytest.mark.parametrize(
    ("layer", "shape", "said"),
    [
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 2), "a page repeats pixels a whole number of times"),
        (nn.Upsample(scale_factor=1.5), (1, 2, 2), "a page repeats pixels a whole number of times"),
        (nn.Upsample(size=(4, 4)), (1, 2, 2), "a page repeats pixels a whole number of times"),
        (nn.PixelShuffle(2), None, r"pass shape=.* nothing before PixelShuffle"),
        (nn.PixelShuffle(2), (6, 2, 2), r"does not fit what it is given, numbers of shape \(6, 2, 2\)"),
        (nn.PixelUnshuffle(2), (1, 3, 2), r"does not fit what it is given, numbers of shape \(1, 3, 2\)"),
        (nn.PixelUnshuffle(2), (4,), r"does not fit what it is given: numbers of shape \(4,\)"),
    ],
)
def test_pack_refuses_moves_that_a_page_cannot_make(layer, shape, said):
    with pytest.raises(Error, match=said):
        pack(layer, shape=shape)


def test_attention_is_torchs():
    run = '[...layer({ op: "attention", width, pixels }, null, 2)(Float32Array.from(x), 2)]'
    cases, wanted = [], []
    for width, pixels in [(4, 9), (12, 49), (1, 1)]:
        x = 2 * torch.randn(2, 3 * width, pixels, generator=torch.Generator().manual_seed(0))
        q, k, v = x.double().transpose(1, 2).chunk(3, dim=2)
        wanted.append(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten())
        cases.append({"width": width, "pixels": pixels, "x": x.flatten().tolist()})
    got = call("nn.js", f"cases.map(({{ width, pixels, x }}) => {run})", cases=cases)
    for mine, want in zip(got, wanted, strict=True):
        assert torch.tensor(mine, dtype=torch.float64).allclose(want, rtol=1e-6, atol=1e-6)


def test_the_embedding_of_time_is_torchs():
    """Sines of up to 1000 radians: torch's float32 angle is itself off by up to 1e-4."""
    cases = [(t, width) for t in (0, 1, 333.3, 1000) for width in (2, 16, 64)]
    got = call("nn.js", "cases.map(([t, width]) => [...timeEmbedding(t, width)])", cases=cases)
    for mine, (t, width) in zip(got, cases, strict=True):
        want = unet.time_embedding(torch.tensor([float(t)]), width)[0]
        assert torch.tensor(mine).float().allclose(want, atol=2e-4)


# ------------------------------------------------------------------------------------------------- the network, torch's

CONFIGS = {
    "the page's": {"widths": (32, 48), "embedding": 64},
    "wider": {"widths": (48, 64), "embedding": 64},
    "with attention": {"attention": True},
    "three sizes, two blocks": {"widths": (4, 8, 12), "patch": 1, "blocks": 2, "attention": True},
    "one size, large patches": {"widths": (10,), "patch": 4},
    "no classes": {"classes": 0},
    "three classes, T = 300": {"classes": 3, "T": 300},
}


def forward(model, *asked):
    """What the page's network gives for each (x (n, 1, 28, 28), t, labels), in turn, and in how many parts."""
    network, raw = widget_module.pack(model)
    given = [{"x": x.flatten().tolist(), "t": t, "labels": labels} for x, t, labels in asked]
    room = max(len(x) for x, _, _ in asked) + 1
    one = f"({{ x, t, labels }}) => {RUN}(m.forward(Float32Array.from(x), t, labels)).map(v => v.length ? [...v] : v)"
    answers = call(FILE, f"(m => given.map({one}))(unet(network, {BYTES}, room))", network=network, raw=encoded(raw),
                   given=given, room=room)
    return [(torch.tensor(y[: x.numel()]).view(x.shape), parts)
            for (y, parts), (x, _, _) in zip(answers, asked, strict=True)]


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_network_in_the_page_is_torchs(name):
    model = build(**CONFIGS[name])
    classes, t = model.config.classes, model.config.T // 3
    x = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    labels = [classes - 1, classes] if classes else [0, 0]  # the last class, and none
    want = model(x, torch.tensor([t, t]), torch.tensor(labels) if classes else None)
    (got, parts), (alone, _), (again, _) = forward(model, (x, t, labels), (x[1:], t, labels[1:]), (x, t, labels))
    assert want.std() > 0.1 and (want[0] - want[1]).abs().max() > 0.1, "a network that does nothing proves nothing"
    assert (got - want).abs().max() < 1e-4
    assert (alone - got[1:]).abs().max() < 1e-5
    assert (again == got).all(), "nothing may be left of the call before"
    assert parts >= 4 * len(model.config.widths) * model.config.blocks, "the page must get its turn in between"


@torch.no_grad()
def test_labels_and_times_reach_the_network():
    x = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    said = [y for y, _ in forward(build(), *[(x, t, [k]) for t, k in [(500, 3), (500, 4), (500, 10), (501, 3)]])]
    for i, a in enumerate(said):
        assert all((a - b).abs().max() > 1e-4 for b in said[i + 1 :])


# ---------------------------------------------------------------------------------------------- from noise to a picture


def test_times_are_the_schedules():
    cases = [(T, steps) for T in (1000, 300, 100, 77, 5) for steps in (1, 3, 5, 8, 16, 20, 50, T) if steps <= T]
    got = call(FILE, "cases.map(([T, steps]) => timesteps(T, steps))", cases=cases)
    assert got == [Schedule.cosine(T).timesteps(steps) for T, steps in cases]


def way(model, **asked):
    """The page's way from noise to a picture: (steps + 1, 784) of x_t and of guesses, and its calls of the network."""
    asked = {"label": -1, "guidance": 0.0, "steps": 5, "eta": 0.0, "seed": 4} | asked
    network, raw = widget_module.pack(model)
    x, x0, frames, calls = call(
        FILE,
        f"""((net, reel) => {{
          const frames = [];
          {RUN}(reverse(net, alphaBar, asked, reel, (k, calls) => {{ frames.push(k); reel.calls += calls; }}));
          return [reel.x, reel.x0, frames, reel.calls];
        }})(unet(network, {BYTES}), film(asked.steps))""",
        network=network, raw=encoded(raw), alphaBar=model.schedule.alpha_bar.tolist(), asked=asked,
    )
    assert frames == list(range(asked["steps"] + 1))
    return *(torch.tensor(v).view(-1, 784) for v in (x, x0)), calls


def denoised(model, *, label=-1, guidance=0.0, steps=5, seed=4):
    """The same by gentut.ddpm: (steps + 1, 784) each."""
    x_T = ReverseDiffusion.noise(seed)
    frames = list(ddpm.denoise(model, x_T, None if label < 0 else label, steps=steps, guidance=guidance * (label >= 0)))
    return [torch.stack([frame[i].flatten() for frame in frames]) for i in (1, 2)]


@pytest.mark.parametrize(
    ("config", "asked", "calls"),
    [
        ({}, {"label": 3}, 5),
        ({}, {"label": 3, "guidance": 1.5}, 10),
        ({}, {"label": -1, "guidance": 1.5, "seed": 2}, 5),
        ({"predict": "x0", "T": 300}, {"label": 0, "steps": 20, "guidance": 4.0}, 40),
        ({"predict": "eps", "schedule": "linear"}, {"label": 9, "steps": 10}, 10),
        ({"classes": 0}, {"steps": 10}, 10),
        ({"schedule": "sigmoid", "T": 100}, {"label": 1, "steps": 50}, 50),
    ],
    ids=str,
)
@torch.no_grad()
def test_the_page_paints_what_python_paints(config, asked, calls):
    """Every x_t and every guess of the way, not only its end."""
    model = build(**config)
    got_x, got_x0, called = way(model, **asked)
    want_x, want_x0 = denoised(model, **asked)
    assert called == calls
    assert (got_x - want_x).abs().max() < 2e-3 and (got_x0 - want_x0).abs().max() < 2e-3
    assert want_x0[-1].std() > 0.1
    assert (want_x0[0] - want_x0[-1]).abs().max() > 0.05, "a way on which nothing changes proves nothing"


@pytest.mark.parametrize("eta", [0.3, 1.0])
@torch.no_grad()
def test_noise_on_the_way_is_pythons(eta):
    """The first 784 numbers of the seed are x_T, each further 784 the noise of one step; the last step has none."""
    model, steps = build(), 5
    got_x, _, _ = way(model, label=7, guidance=0.5, eta=eta, steps=steps)
    noise, times = ReverseDiffusion.noise(4, steps), model.schedule.timesteps(steps)
    x, want = noise[:1], []
    for k, (t, s) in enumerate(zip(times, [*times[1:], 0], strict=True)):
        want.append(x)
        x0 = model.predict_x0(x, t, torch.tensor([7]), 0.5).clamp(-1, 1)
        x = model.schedule.step_back(x, x0, t, s, eta=eta, noise=noise[k + 1 : k + 2] if s else None)
    assert (got_x - torch.stack([*want, x]).flatten(1)).abs().max() < 2e-3
    assert (got_x[1:] - denoised(model, label=7, guidance=0.5, steps=steps)[0][1:]).abs().max() > 0.1


def test_noise_is_standard_normal_and_the_seeds():
    noise = ReverseDiffusion.noise(11, 20)
    assert noise.shape == (20, 1, 28, 28) and noise.dtype == torch.float32
    assert noise.mean().abs() < 0.03 and (noise.std() - 1).abs() < 0.02
    assert (ReverseDiffusion.noise(11) == noise[:1]).all() and (ReverseDiffusion.noise(12) != noise[:1]).any()
    assert ReverseDiffusion.noise(11).flatten().tolist() == pytest.approx(base.normals(11, 784), abs=1e-6)


# ------------------------------------------------------------------------------------------------ the published network


@torch.no_grad()
def test_the_published_network_travels_without_loss(published):
    """It is published in float16, and travels so: every part in the page has the very weights, not nearly."""
    network, raw = widget_module.pack(published)
    net, sent = published.network, {}
    for name, spec in network["parts"].items():
        ops = [op for op in spec if op["op"] in ("linear", "conv2d")]
        weights = [np.frombuffer(raw, "<f2", op["out"] * (bias_at(op) // op["out"]), op["weight"]) for op in ops]
        sent[name] = weights
    for name, layers in {
        "time": [net.time[0], net.time[2]], "first": [net.first], "smaller.0": [net.smaller[0]],
        "down.0.0.a": [net.down[0][0].conv1], "up.1.0.time": [net.up[1][0].time], "up.0.0.b": [net.up[0][0].conv2],
        "larger.0": [net.larger[0]], "last": [net.last],
    }.items():
        for got, layer in zip(sent[name], layers, strict=True):
            assert (torch.from_numpy(got.astype("f4")) == layer.weight.flatten()).all(), name
    table = np.frombuffer(raw, "<f2", net.label.weight.numel(), network["label"]["weight"])
    assert (torch.from_numpy(table.astype("f4")) == net.label.weight.flatten()).all()


def bias_at(op):
    """How many weights an operation has."""
    return op["in"] * op["out"] * (np.prod(op["kernel"]) if op["op"] == "conv2d" else 1)


@pytest.mark.parametrize(
    "asked", [{"label": 3, "guidance": 1.0}, {"label": 8, "seed": 5}, {"label": -1, "seed": 6}], ids=str
)
@torch.no_grad()
def test_the_published_network_paints_the_same_digit_in_the_page(published, asked):
    """In grey levels of [0, 1], at the 20 steps that the chapter shows."""
    got, want = way(published, steps=20, **asked)[1], denoised(published, steps=20, **asked)[1]
    off = (data.from_signed(got) - data.from_signed(want)).abs()
    assert off.max() < 0.01 and off.mean() < 1e-4
    final = data.from_signed(want[-1])
    assert final.max() > 0.9 and 0.05 < final.mean() < 0.4, "a blank picture proves nothing"


# --------------------------------------------------------------------------------------------------------- what is sent


def raw_bytes(widget):
    state = {k: v for k, v in widget.get_state().items() if k not in ("layout", "tabbable", "tooltip")}
    return sum(len(v) if isinstance(v, (bytes, memoryview)) else len(json.dumps(v)) for v in state.values())


def test_the_state_stays_below_its_budget(published):
    for model in (published, build(widths=(48, 64), embedding=64)):
        widget = ReverseDiffusion.from_model(model)
        assert 2 * sum(p.numel() for p in model.parameters()) < raw_bytes(widget) < 700_000


def test_the_widget_begins_where_it_is_told():
    widget = ReverseDiffusion.from_model(build())
    names = ("label", "guidance", "steps", "eta", "seed", "position", "picture")
    assert [getattr(widget, name) for name in names] == [3, 0.0, 20, 0.0, 1, 1.0, []]
    other = {"label": 9, "guidance": 0.5, "steps": 50, "eta": 1, "seed": 77, "position": 0}
    widget = ReverseDiffusion.from_model(build(), **other)
    assert {name: getattr(widget, name) for name in other} == other
    assert ReverseDiffusion.from_model(build(), label=None).label == -1
    free = ReverseDiffusion.from_model(build(classes=0), label=None)
    assert free.label == -1 and "label" not in free.network
    assert free.network["guided"] == 0
    assert ReverseDiffusion.from_model(build(guided=0.25)).network["guided"] == pytest.approx(1 / 3)
    schedule = build(T=300, schedule="linear").schedule
    sent = ReverseDiffusion.from_model(build(T=300, schedule="linear")).alpha_bar
    assert (np.frombuffer(sent, "<f8") == schedule.alpha_bar.numpy()).all() and len(sent) == 8 * 301


def test_the_joined_module_is_one_that_a_page_can_load(tmp_path):
    code = str(ReverseDiffusion._esm)
    (tmp_path / "joined.mjs").write_text(code)
    script = "import('./joined.mjs').then(m => console.log(Object.keys(m), typeof m.default.render))"
    done = subprocess.run([node(), "-e", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.strip() == "[ 'default' ] function", done.stderr
    assert "http" not in code.replace("http://www.w3.org/2000/svg", ""), "a widget names no address"


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("label", 10, "label must be a whole number from -1 to 9, got 10"),
        ("label", -2, "label must be a whole number from -1 to 9, got -2"),
        ("guidance", 4.5, "guidance must lie between 0 and 4, got 4.5"),
        ("guidance", float("nan"), "guidance must lie between 0 and 4, got nan"),
        ("steps", 7, "steps must be one of 5, 10, 20, 50, got 7"),
        ("eta", -0.1, "eta must lie between 0 and 1, got -0.1"),
        ("seed", -1, "seed must be a whole number from 0 to 2147483647, got -1"),
        ("seed", 2**31, "seed must be a whole number"),
        ("position", 1.01, "position must lie between 0 and 1, got 1.01"),
    ],
)
def test_traits_refuse(widget, name, value, said):
    before = copy.deepcopy(getattr(widget, name))
    with pytest.raises(Error, match=said):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


def broken(value):
    model = build()
    model.network.first.weight.data[0, 0, 0, 0] = value
    return model


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ReverseDiffusion.from_model("ddpm-page"), "needs a network made by gentut.ddpm, got str"),
        (lambda: ReverseDiffusion.from_model(build().network), "got UNet"),
        (lambda: ReverseDiffusion.from_model(build(norm="batch")), "runs group norm: this network has norm='batch'"),
        (lambda: ReverseDiffusion.from_model(build(T=4)), "at least 5 steps; this model's chain has T = 4"),
        (lambda: ReverseDiffusion.from_model(build(T=10)), "steps must be one of 5, 10, got 20"),
        (lambda: ReverseDiffusion.from_model(build(classes=21)), "a button for each class: at most 20, not 21"),
        (lambda: ReverseDiffusion.from_model(build(classes=0)), "has no classes: it takes no label"),
        (lambda: ReverseDiffusion.from_model(build(classes=3), label=3.0), "whole number from -1 to 2, got 3.0"),
        (lambda: ReverseDiffusion.from_model(build(widths=(64, 128))), r"\d,\d+,\d+ bytes; a page carries at most"),
        (lambda: ReverseDiffusion.from_model(broken(float("nan"))), "weights that are not finite"),
        (lambda: ReverseDiffusion.from_model(broken(1e6)), "beyond float16's range"),
        (lambda: ReverseDiffusion.from_model(build(), steps=25), "steps must be one of 5, 10, 20, 50, got 25"),
        (lambda: ReverseDiffusion.from_model(build(), steps=True), "steps must be one of .*, got True"),
        (lambda: ReverseDiffusion.from_model(build(), guidance="1"), "guidance must lie between 0 and 4, got '1'"),
        (lambda: ReverseDiffusion.from_model(build(), eta=2), "eta must lie between 0 and 1, got 2"),
        (lambda: ReverseDiffusion.from_model(build(), seed=1.5), "seed must be a whole number from 0 to"),
        (lambda: ReverseDiffusion.noise(-1), "seed must be a whole number"),
        (lambda: ReverseDiffusion.noise(1, 0), "n must be a whole number"),
    ],
)
def test_constructors_refuse(make, said):
    with pytest.raises(Error, match=said):
        make()
