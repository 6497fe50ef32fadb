"""Both ways of drawing give the network's pictures and probabilities, and one of them computes nothing twice."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gentut import Error, causal, checkpoints, drawing, pixelcnn

SIZE = 6  # rows and columns, where nothing else is said
CONFIGURATIONS = {
    "gated": {},
    "gated, as published": {"dilations": (1, 2, 1, 4, 1, 2)},
    "gated, classes": {"classes": 3},
    "gated, levels": {"levels": 4},
    "gated, classes and levels": {"classes": 3, "levels": 16},
    "gated, 256 levels": {"levels": 256},
    "gated, colour": {"channels": 3},
    "gated, colour, classes and levels": {"channels": 3, "classes": 3, "levels": 4},
    "masked": {"kind": "masked"},
    "gated, embedding": {"levels": 4, "embedding": 3},
    "masked, colour, embedding": {"kind": "masked", "channels": 3, "levels": 4, "embedding": 2},
    "masked, wide windows": {"kind": "masked", "dilations": (1, 3, 1)},
    "masked, classes and levels": {"kind": "masked", "classes": 3, "levels": 4},
    "masked, colour": {"kind": "masked", "channels": 3},
    "masked, colour, classes and levels": {"kind": "masked", "channels": 3, "classes": 3, "levels": 4},
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(sharpness=6.0, **changes):
    """An untrained float64 network whose logits really depend on the picture."""
    model = pixelcnn.build(pixelcnn.Config(**{"size": SIZE, "width": 6, "head": 12, **changes})).double().eval()
    with torch.no_grad():
        model.out.weight.mul_(sharpness)
    return model.requires_grad_(False)


def shape(model, n):
    c = model.config
    return n, c.channels, c.size, c.size


def uniforms(model, n, seed=0):
    return torch.rand(shape(model, n), generator=generator(seed), dtype=torch.float64)


def labels_for(model, n):
    return torch.arange(n, 0, -1) % model.config.classes if model.config.classes else None


def pictures(model, n, seed=0):
    """Random pictures on the model's levels, float64."""
    levels = model.config.levels
    return (uniforms(model, n, seed) * levels).floor() / (levels - 1)


def levels_first(model, x, labels=None):
    """The logits of a whole picture, always (batch, levels or 1, channels, size, size)."""
    logits = model(x, labels)
    return logits if logits.ndim == 5 else logits.unsqueeze(2)


def probabilities(model, x, labels=None):
    """P(level) at every sub-pixel given what is before it in x: (batch, levels, channels, size, size)."""
    logits = levels_first(model, x, labels)
    if logits.shape[1] == 1:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return logits.softmax(1)


# ---------------------------------------------------------------------------------------------- from uniforms to levels


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=8), st.floats(0, 1, exclude_max=True))
def test_a_level_is_the_first_whose_cumulative_probability_exceeds_the_uniform(logits, u):
    p = torch.tensor(logits, dtype=torch.float64).softmax(0)
    total, want = 0.0, len(logits) - 1
    for k, each in enumerate(p.tolist()):
        total += each
        if total > u:
            want = k
            break
    if min(abs(c - u) for c in p.cumsum(0).tolist()) > 1e-12:
        got = drawing.choose_level(torch.tensor([logits], dtype=torch.float64), torch.tensor([u], dtype=torch.float64))
        assert got.shape == (1,) and got.item() == want / (len(logits) - 1)


@given(st.floats(-50, 50), st.floats(0, 1, exclude_max=True))
def test_two_levels_by_their_log_odds_are_two_levels_by_their_logits(logit, u):
    logit, u = torch.tensor([[logit]], dtype=torch.float64), torch.tensor([u], dtype=torch.float64)
    if (torch.sigmoid(-logit[0]) - u).abs() > 1e-12:
        both = torch.cat([torch.zeros_like(logit), logit], dim=1)
        assert drawing.choose_level(logit, u) == drawing.choose_level(both, u)


def test_the_ends_of_the_uniforms():
    for kind in (torch.float32, torch.float64):
        last = torch.tensor([1 - torch.finfo(kind).eps / 2], dtype=kind)
        first = torch.zeros(1, dtype=kind)
        odd = torch.full((1, 7), 0.1, dtype=kind)  # sevenths, which do not add up to 1 in floating point
        assert drawing.choose_level(odd, last) == 1 and drawing.choose_level(odd, first) == 0
        never = torch.tensor([[-math.inf, 0.0, -math.inf]], dtype=kind)
        assert drawing.choose_level(never, first) == 0.5
        for logit, want in ((-800.0, 0), (800.0, 1)):  # certain pixels, whatever the uniform
            for u in (first, last):
                if kind == torch.float64 or (logit < 0) == (u == 0).item() or want == 1:
                    assert drawing.choose_level(torch.tensor([[logit]], dtype=kind), u) == want


# ------------------------------------------------------------------------------------ one pixel's logits, kept features


def walk(model, x, labels=None):
    """The canvas's logits along pictures x, as levels_first gives them. Later colours are not written before theirs."""
    c, canvas = model.config, drawing.Canvas(model, len(x), labels)
    found = torch.full_like(levels_first(model, x, labels), math.nan)
    for row, column, colour in itertools.product(range(c.size), range(c.size), range(c.channels)):
        found[:, :, colour, row, column] = canvas.logits(row, column)[..., colour]
        values = x[:, :, row, column].clone()
        values[:, colour + 1 :] = 0
        canvas.write(row, column, values)
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_kept_features_give_the_logits_of_a_full_pass(name):
    model = network(**CONFIGURATIONS[name])
    x, labels = pictures(model, 3), labels_for(model, 3)
    full = levels_first(model, x, labels)
    assert full.std() > 0.1  # they do depend on the picture
    assert (walk(model, x, labels) - full).abs().max() < 1e-10
    single, x = model.float(), x.float()
    full = levels_first(single, x, labels)
    assert ((walk(single, x, labels) - full).abs() < 1e-4 * full.abs().clamp(min=1)).all()


@pytest.mark.parametrize("name", pixelcnn.PUBLISHED)
def test_the_kept_features_of_the_published_networks(name):
    """At full size, with the weights that are published (with random ones if none are)."""
    known = name in checkpoints.names()
    model = checkpoints.load(name, "cpu") if known else pixelcnn.build(pixelcnn.PUBLISHED[name]).eval()
    model.requires_grad_(False)
    u, labels = torch.rand(2, 1, 28, 28, generator=generator(4)), labels_for(model, 2)
    x = pixelcnn.sample(model, 2, uniforms=u, labels=labels)
    # A pixel is a function of its uniform and the pixels before it, so one pass in double precision tells, pixel by
    # pixel, what the naive way would have drawn.
    model, top = model.double(), model.config.levels - 1
    x = (x.double() * top).round() / top
    logits = model(x, labels)
    again = drawing.choose_level(logits.movedim(1, -1).flatten(0, 2), u.double().flatten())
    assert torch.equal(again.view_as(x), x)
    assert (walk(model, x, labels)[:, :, 0] - logits).abs().max() < 1e-10


# ---------------------------------------------------------------------------------------------------- the same pictures


def by_hand(model, u, labels=None, temperature=1.0, given=None):
    """Drawing as the definition has it: a full pass, a softmax and a search for each sub-pixel."""
    c, x = model.config, torch.zeros_like(u)
    for row, column, colour in itertools.product(range(c.size), range(c.size), range(c.channels)):
        logits = levels_first(model, x, labels)[:, :, colour, row, column] / temperature
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        cumulative = logits.softmax(1).cumsum(1)
        for k in range(len(x)):
            above = [level for level in range(c.levels) if cumulative[k, level] > u[k, colour, row, column]]
            x[k, colour, row, column] = (above[0] if above else c.levels - 1) / (c.levels - 1)
            if given is not None and not given[k, colour, row, column].isnan():
                x[k, colour, row, column] = given[k, colour, row, column]
    return x


@pytest.mark.parametrize(("name", "n"), [*((name, 3) for name in CONFIGURATIONS), ("gated", 1), ("masked, colour", 1)])
def test_both_ways_draw_what_the_definition_draws(name, n):
    model = network(**CONFIGURATIONS[name])
    u, labels, temperature = uniforms(model, n), labels_for(model, n), (1.0, 0.6, 1.7)[len(name) % 3]
    fixed = pictures(model, n, seed=1)
    fixed[uniforms(model, n, seed=2) < 0.7] = math.nan  # every third sub-pixel or so is given
    for kept in (None, fixed):
        options = {"labels": labels, "temperature": temperature, "uniforms": u, "given": kept}
        want = by_hand(model, u, labels, temperature, kept)
        for method in drawing.METHODS:
            assert torch.equal(pixelcnn.sample(model, n, method=method, **options), want.float()), method
    assert 0.05 < want.mean() < 0.95


@pytest.mark.parametrize("method", drawing.METHODS)
def test_samples_are_pictures(method):
    for name in ("gated", "gated, colour, classes and levels"):
        model = network(**CONFIGURATIONS[name])
        x = pixelcnn.sample(model, 2, method=method, generator=generator())
        assert x.dtype == torch.float32 and x.shape == shape(model, 2) and not x.requires_grad
        model.float().check_pictures(x)
        assert x.min() >= 0 and x.max() <= 1 and len(x.unique()) == model.config.levels


def test_the_generator_decides_and_the_global_one_is_left_alone():
    model = network()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a, b, c = (pixelcnn.sample(model, 3, generator=generator(s)) for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), before)
    u = torch.rand(shape(model, 3), generator=generator(0))
    assert torch.equal(a, pixelcnn.sample(model, 3, uniforms=u))
    assert torch.equal(a, pixelcnn.sample(model, 3, generator=0))  # a seed is as good as a generator
    d = pixelcnn.sample(model, 3)
    torch.set_rng_state(before)
    assert torch.equal(d, pixelcnn.sample(model, 3))


def test_a_trained_network_is_not_changed_by_drawing():
    model = pixelcnn.build(pixelcnn.Config(size=5)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert not pixelcnn.sample(model, 1).requires_grad
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_labels_are_the_classes_in_turn_by_default():
    model, u = network(classes=3), uniforms(network(), 5)
    for method in drawing.METHODS:
        x = pixelcnn.sample(model, 5, uniforms=u, method=method)
        for labels, same in ((torch.tensor([0, 1, 2, 0, 1]), True), ([0, 0, 0, 0, 0], False)):
            y = pixelcnn.sample(model, 5, uniforms=u, labels=labels, method=method)
            assert torch.equal(x, y) == same


# ---------------------------------------------------------------------------------------------- the right probabilities


def all_pictures(model):
    """Every picture that there is, (levels^n, channels, size, size)."""
    c = model.config
    n = c.channels * c.size**2
    values = torch.arange(c.levels, dtype=torch.float64) / (c.levels - 1)
    return torch.cartesian_prod(*[values] * n).view(-1, c.channels, c.size, c.size)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("changes", [
    {"size": 3}, {"size": 3, "kind": "masked"}, {"size": 2, "levels": 4}, {"size": 2, "levels": 3, "classes": 2},
    {"size": 2, "channels": 3}, {"size": 2, "channels": 3, "kind": "masked"},
], ids=["gated", "masked", "levels", "classes", "colour", "masked colour"])  # fmt: skip
def test_uniforms_fill_a_box_for_each_picture_whose_volume_is_its_probability(changes, temperature):
    """Uniforms in the middle of a picture's box draw this very picture; so it comes as often as the network says."""
    model = network(sharpness=2.0, **changes)
    x = all_pictures(model)
    labels = torch.arange(len(x)) % 2 if model.config.classes else None
    logits = levels_first(model, x, labels) / temperature
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    p = logits.softmax(1)
    level = (x * (model.config.levels - 1)).round().long().unsqueeze(1)
    upper = p.cumsum(1).gather(1, level).squeeze(1)
    width = p.gather(1, level).squeeze(1)
    volumes = width.flatten(1).prod(1)
    if labels is None:
        assert volumes.sum().item() == pytest.approx(1, abs=1e-12)
    if temperature == 1:
        assert torch.allclose(volumes.log(), pixelcnn.log_prob(model, x, labels), rtol=0, atol=1e-12)
    for place in (0.5, 1e-6, 1 - 1e-6):
        u = (upper - place * width).clamp(min=0)
        drawn = pixelcnn.sample(model, len(x), uniforms=u, labels=labels, temperature=temperature)
        assert torch.equal(drawn, x.float())


def test_drawn_pictures_come_as_often_as_they_are_probable():
    model, n = network(size=2, levels=3), 40_000
    x = all_pictures(model)
    expected = pixelcnn.log_prob(model, x).exp() * n
    drawn = (pixelcnn.sample(model, n, generator=generator()).double() * 2).round().flatten(1)
    counts = (drawn @ torch.tensor([27.0, 9, 3, 1], dtype=torch.float64)).long().bincount(minlength=81)
    chi_squared = ((counts - expected).square() / expected).sum().item()
    assert chi_squared < 80 + 4 * math.sqrt(2 * 80)  # 80 degrees of freedom


@pytest.mark.parametrize("levels", [2, 4])
def test_temperature_divides_the_logits(levels):
    model, n = network(levels=levels), 6
    u = uniforms(model, n)
    for temperature in (0.3, 2.5):
        other = network(levels=levels)
        other.out.weight.div_(temperature)
        other.out.bias.div_(temperature)
        for method in drawing.METHODS:
            a = pixelcnn.sample(model, n, uniforms=u, temperature=temperature, method=method)
            assert torch.equal(a, pixelcnn.sample(other, n, uniforms=u, method=method))
            assert not torch.equal(a, pixelcnn.sample(model, n, uniforms=u, method=method))
    # near 0 there is no chance left: the likeliest level of each pixel, whatever the uniforms
    cold = [pixelcnn.sample(model, 2, uniforms=uniforms(model, 2, seed), temperature=1e-4) for seed in range(2)]
    assert torch.equal(cold[0], cold[1])
    assert torch.equal(probabilities(model, cold[0].double()).argmax(1) / (levels - 1), cold[0])


# -------------------------------------------------------------------------------------------------- what is given stays


@pytest.mark.parametrize("method", drawing.METHODS)
@pytest.mark.parametrize("name", ["gated", "masked", "gated, colour, classes and levels"])
def test_completion_goes_on_from_the_half_that_is_given(name, method):
    model = network(**CONFIGURATIONS[name])
    u, labels = uniforms(model, 4), labels_for(model, 4)
    drawn = pixelcnn.sample(model, 4, uniforms=u, labels=labels)
    half = drawn.clone()
    half[:, :, 3:] = math.nan
    # the same upper half and the same uniforms below give the same picture
    options = {"labels": labels, "method": method}
    assert torch.equal(pixelcnn.sample(model, 4, uniforms=u, given=half, **options), drawn)
    u[:, :, :3] = 0.5  # the uniforms of what is given play no part
    assert torch.equal(pixelcnn.sample(model, 4, uniforms=u, given=half, **options), drawn)
    # others below change the lower half alone, another half given changes what is drawn below it
    other = pixelcnn.sample(model, 4, uniforms=uniforms(model, 4, seed=9), given=half, **options)
    assert torch.equal(other[:, :, :3], drawn[:, :, :3]) and not torch.equal(other, drawn)
    inverted = 1 - half
    changed = pixelcnn.sample(model, 4, uniforms=u, given=inverted, **options)
    assert torch.equal(changed[:, :, :3], inverted[:, :, :3]) and not torch.equal(changed[:, :, 3:], drawn[:, :, 3:])
    # all given, nothing to draw; nothing given, everything; one for all
    assert torch.equal(pixelcnn.sample(model, 4, given=drawn, **options), drawn)
    nothing = pixelcnn.sample(model, 4, uniforms=u, given=torch.full_like(half[:1], math.nan), **options)
    assert torch.equal(nothing, pixelcnn.sample(model, 4, uniforms=u, **options))
    one = pixelcnn.sample(model, 4, uniforms=u, given=half[:1], **options)
    assert all(torch.equal(picture[:, :3], half[0, :, :3]) for picture in one)


def test_what_is_given_below_does_not_reach_up():
    model = network()
    u, low = uniforms(model, 3), torch.full((1, 1, SIZE, SIZE), math.nan)
    low[:, :, 4:] = 1
    for method in drawing.METHODS:
        x = pixelcnn.sample(model, 3, uniforms=u, given=low, method=method)
        assert torch.equal(x[:, :, :4], pixelcnn.sample(model, 3, uniforms=u, method=method)[:, :, :4])
        assert (x[:, :, 4:] == 1).all()


@pytest.mark.parametrize("name", ["gated", "masked", "gated, colour"])
def test_a_sound_network_never_looks_at_the_paper(name):
    model = network(**CONFIGURATIONS[name])
    u, paper = uniforms(model, 3), torch.rand(shape(model, 3), generator=generator(5))
    for method in drawing.METHODS:
        x = pixelcnn.sample(model, 3, uniforms=u, method=method)
        assert torch.equal(pixelcnn.sample(model, 3, uniforms=u, start=paper, method=method), x)
        assert torch.equal(pixelcnn.sample(model, 3, uniforms=u, start=paper[:1], method=method), x)
    # one that sees the pixel which it predicts does look
    model = network(**CONFIGURATIONS[name], first_mask="B")
    x, y = (pixelcnn.sample(model, 3, uniforms=u, start=s, method="naive") for s in (None, (paper < 0.5).float()))
    assert not torch.equal(x, y)


# --------------------------------------------------------------------------------------------------- nothing done twice


def operations(function):
    """Multiply-adds of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() // 2


def surviving(model):
    """Weights that no mask hides."""
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    return sum(int((m.weights() if isinstance(m, causal.CausalConv2d) else m.weight).count_nonzero()) for m in convs)


@pytest.mark.parametrize("name", ["gated", "gated, classes and levels", "masked"])
def test_the_incremental_way_uses_each_weight_once_a_pixel(name):
    model, pixels = network(**CONFIGURATIONS[name]), SIZE**2
    assert operations(lambda: pixelcnn.sample(model, 2)) == 2 * pixels * surviving(model)
    full = operations(lambda: model(pictures(model, 2), labels_for(model, 2)))
    assert full >= 2 * pixels * surviving(model)
    assert operations(lambda: pixelcnn.sample(model, 2, method="naive")) == pixels * full


@pytest.mark.parametrize("name", ["gated", "masked", "gated, colour"])
def test_full_passes(name):
    model, passes = network(**CONFIGURATIONS[name]), []
    model.register_forward_hook(lambda *_: passes.append(1))
    pixelcnn.sample(model, 2)
    assert not passes
    pixelcnn.sample(model, 2, method="naive")
    assert len(passes) == SIZE**2 * model.config.channels


@pytest.mark.parametrize("kind", ["gated", "masked"])
def test_the_memory_of_the_canvas(kind):
    """Each window keeps what goes into it, and a border: of the order of layers · width · pixels."""
    def memory(n=1, **changes):
        model = pixelcnn.build(pixelcnn.Config(**{"kind": kind, "width": 12, "dilations": (1, 1), **changes}))
        return drawing.Canvas(model, n).memory()

    one = memory()
    assert memory(5) == 5 * one
    longer = memory(dilations=(1,) * 12) - one
    assert longer == 5 * (memory(dilations=(1, 1, 1, 1)) - one)  # the same for every further block
    kept = {"gated": 12 * (29 * 30 + 28 * 29), "masked": 6 * 29 * 30}[kind]  # down and across, or conv
    assert longer == 10 * 4 * kept
    assert memory(size=56) < 4 * one < 1.2 * memory(size=56)


# ------------------------------------------------------------------------------------------------------------ bad input


def test_a_network_that_sees_itself_is_drawn_from_naively_only():
    model = network(first_mask="B")
    with pytest.raises(Error, match="first_mask='B' looks at the pixel that it predicts: draw with method='naive'"):
        pixelcnn.sample(model, 1)
    assert pixelcnn.sample(model, 1, method="naive").shape == (1, 1, SIZE, SIZE)


HALF = torch.full((2, 1, 6, 6), 0.5)
SHAPE = r"float tensor of shape \(2, 1, 6, 6\), got "
WRONG = {
    "method": ({"method": "nave"}, "unknown method 'nave'. There are: incremental, naive. Did you mean 'naive'"),
    "no pictures": ({"n": 0}, "n must be at least 1, got 0"),
    "half a picture": ({"n": 1.5}, "n must be a whole number, got 1.5"),
    "n is true": ({"n": True}, "n must be a whole number, got True"),
    "temperature 0": ({"temperature": 0}, "temperature must be a number above 0, got 0"),
    "temperature below 0": ({"temperature": -0.5}, "temperature must be a number above 0, got -0.5"),
    "temperature nan": ({"temperature": math.nan}, "temperature must be a number above 0, got nan"),
    "temperature in words": ({"temperature": "hot"}, "temperature must be a number above 0, got 'hot'"),
    "temperature inf": ({"temperature": math.inf}, "temperature must be a number above 0, got inf"),
    "uniforms for fewer": ({"uniforms": HALF[:1]}, r"uniforms must have .* shape \(2, 1, 6, 6\), got \(1, 1, 6, 6\)"),
    "flat uniforms": ({"uniforms": HALF.flatten(1)}, r"uniforms must have the pictures' shape .*got \(2, 36\)"),
    "no uniforms": ({"uniforms": HALF.tolist()}, r"uniforms must have the pictures' shape \(2, 1, 6, 6\), got"),
    "uniform 1": ({"uniforms": 2 * HALF}, r"uniforms must lie in \[0, 1\), got 1 to 1"),
    "uniform below 0": ({"uniforms": HALF - 1}, r"uniforms must lie in \[0, 1\), got -0.5 to -0.5"),
    "uniform nan": ({"uniforms": HALF * math.nan}, r"uniforms must lie in \[0, 1\), got nan"),
    "given for more": ({"given": torch.zeros(3, 1, 6, 6)}, "given must be a " + SHAPE),
    "given half": ({"given": torch.zeros(2, 1, 3, 7)}, "given must be a " + SHAPE),
    "given without channel": ({"given": torch.zeros(2, 6, 6)}, "given must be a " + SHAPE),
    "given colour": ({"given": torch.zeros(2, 3, 6, 6)}, "given must be a " + SHAPE),
    "given whole numbers": ({"given": torch.zeros(2, 1, 6, 6, dtype=torch.uint8)}, "given must be a float .*uint8"),
    "given a list": ({"given": [0.0]}, "given must be a float tensor .*got list"),
    "given grey": ({"given": HALF}, r"this network knows 2 levels, the values k / 1; got the pixel 0.5"),
    "given infinity": ({"given": HALF / 0}, "this network knows 2 levels, .*got the pixel inf"),
    "given below 0": ({"given": -2 * HALF}, "this network knows 2 levels, .*got the pixel -1"),
    "start beyond white": ({"start": 2 * torch.ones(1, 1, SIZE, SIZE), "method": "naive"}, "start must lie in"),
    "start nan": ({"start": HALF * math.nan, "method": "naive"}, "start holds NaN"),
    "start": ({"start": torch.zeros(6, 6), "method": "naive"}, "start must be a " + SHAPE),
    "labels": ({"labels": [0, 1]}, "this network has no classes: call it without labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_clear_error(case):
    options, message = WRONG[case]
    with pytest.raises(Error, match=message):
        pixelcnn.sample(network(), **{"n": 2, **options})


@pytest.mark.parametrize(("labels", "message"), [
    ([0], r"labels must be whole numbers of shape \(2,\), got torch.int64 \(1,\)"),
    ([0.0, 1.0], r"labels must be whole numbers of shape \(2,\), got torch.float32"),
    ([[0], [1]], r"labels must be whole numbers of shape \(2,\)"),
    (1, r"labels must be whole numbers of shape \(2,\)"),
    ([0, 3], "labels must lie in 0 to 2, got 0 to 3"),
    ([-1, 0], "labels must lie in 0 to 2, got -1 to 0"),
])  # fmt: skip
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(Error, match=message):
        pixelcnn.sample(network(classes=3), 2, labels=labels)
