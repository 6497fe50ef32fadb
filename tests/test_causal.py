"""No layer and no network looks ahead: every pixel is changed in turn, and the windows' geometry says what may move."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gentut import Error, causal, checkpoints, pixelcnn

# Float64: an effect below this is none. The weakest true one in these tests is a hundred times as large.
NOTHING = 1e-13


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def offsets(down, right):
    """Where taps lie, (rows, columns, 2), for ranges of rows and columns."""
    return torch.tensor([[(d, r) for r in right] for d in down])


# --------------------------------------------------------------------------------------------------------------- masks


def test_the_masks_of_a_window_around_the_pixel():
    window, one = offsets(range(-1, 2), range(-1, 2)), torch.zeros(1, dtype=torch.long)
    masks = {kind: causal.causal_mask(window, kind, one, one)[0, 0].tolist() for kind in ("A", "B", "rows")}
    assert masks == {
        "A": [[1, 1, 1], [1, 0, 0], [0, 0, 0]],
        "B": [[1, 1, 1], [1, 1, 0], [0, 0, 0]],
        "rows": [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
    }


def test_the_masks_of_colours_at_the_pixel_itself():
    window, colours = offsets(range(-1, 2), range(-1, 2)), torch.arange(3)
    for kind, here in (("A", [[0, 0, 0], [1, 0, 0], [1, 1, 0]]), ("B", [[1, 0, 0], [1, 1, 0], [1, 1, 1]])):
        mask = causal.causal_mask(window, kind, colours, colours)
        assert mask.shape == (3, 3, 3, 3)
        assert mask[:, :, 1, 1].tolist() == here  # row: to this colour; column: from that
        for d, r in itertools.product(range(3), repeat=2):
            if (d, r) != (1, 1):
                assert (mask[:, :, d, r] == float((d, r) < (1, 1))).all()  # elsewhere colours make no difference


@given(st.integers(1, 9), st.integers(1, 9))
def test_features_are_shared_among_the_colours_in_turn(wide_in, wide_out):
    conv = causal.CausalConv2d(wide_in, wide_out, (1, 1), (0, 0), "A", colours=3)
    for i, o in itertools.product(range(wide_in), range(wide_out)):
        assert bool(conv.weights()[o, i] != 0) == (i % 3 < o % 3)


# -------------------------------------------------------------------------------------------------------------- layers


@st.composite
def layers(draw):
    """A causal convolution of any window that ends at the pixel, before it or behind it."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    origin = draw(st.integers(0, rows)), draw(st.integers(0, columns))
    kind, colours = draw(st.sampled_from(("A", "B", "rows"))), draw(st.sampled_from((1, 3)))
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 99)))
        return causal.CausalConv2d(
            draw(st.sampled_from((3, 6))), draw(st.sampled_from((3, 6))), (rows, columns), origin, kind,
            dilation=draw(st.integers(1, 3)), colours=colours,
        ).double(), origin, kind, colours  # fmt: skip


@given(layers())
def test_a_layer_is_a_sum_over_its_window(layer):
    conv, origin, kind, colours = layer
    size, x = 6, randn(2, conv.in_channels, 6, 6)
    want = conv.bias.view(1, -1, 1, 1).expand(2, -1, size, size).clone()
    for a, b in itertools.product(*map(range, conv.kernel_size)):
        down, right = (conv.dilation[0] * (k - o) for k, o in zip((a, b), origin, strict=True))
        weight = conv.weight[:, :, a, b].clone()
        for o, i in itertools.product(range(len(weight)), range(conv.in_channels)):
            seen = (down, right) < (0, 0) if kind != "rows" else down <= 0
            if (down, right) == (0, 0) and kind != "rows":
                seen = i % colours < o % colours or (kind == "B" and i % colours == o % colours)
            weight[o, i] *= seen
        for row, column in itertools.product(range(size), repeat=2):
            if 0 <= row + down < size and 0 <= column + right < size:
                want[:, :, row, column] += x[:, :, row + down, column + right] @ weight.T
    assert torch.allclose(conv(x), want, rtol=0, atol=1e-12)


@given(layers())
@settings(max_examples=30)
def test_a_layer_looks_where_it_says(layer):
    conv, _, kind, colours = layer
    size, wide = 7, conv.in_channels
    x = torch.zeros(size * size * wide, wide, size, size, dtype=torch.float64)
    for k, (row, column, i) in enumerate(itertools.product(range(size), range(size), range(wide))):
        x[k, i, row, column] = 1
    seen = (conv(x) - conv(torch.zeros_like(x[:1]))).abs() > NOTHING  # (pixel and feature, out, size, size)
    reach = conv.reach()
    for k, (row, column, i) in enumerate(itertools.product(range(size), range(size), range(wide))):
        places = {(row - p, column - q) for p, q in seen[k].any(0).nonzero().tolist()}
        assert places <= reach
        if kind == "rows":
            assert all(down <= 0 for down, _ in places)
        else:
            assert all(place <= (0, 0) for place in places)
            itself = {o for o in range(conv.out_channels) if seen[k, o, row, column]}
            limit = {"A": lambda o, i=i: i % colours < o % colours, "B": lambda o, i=i: i % colours <= o % colours}
            assert all(limit[kind](o) for o in itself)
    middle = {(3 - p // size, 3 - p % size) for p in range(size * size)}  # what can be seen from the middle at all
    found = seen[:, :, 3, 3].any(1).view(size * size, wide).any(1)
    assert {(p // size - 3, p % size - 3) for p in range(size * size) if found[p]} == reach & middle


def test_masks_are_not_saved_and_only_made_where_something_is_hidden():
    config = pixelcnn.Config(size=9)
    for kind, hidden in (("gated", set()), ("masked", {"first", "blocks.0.conv", "blocks.1.conv"})):
        model = pixelcnn.build(config.replace(kind=kind))
        convs = {k: m for k, m in model.named_modules() if isinstance(m, causal.CausalConv2d)}
        assert {k for k, m in convs.items() if m.mask is not None} == hidden
        assert not [k for k in model.state_dict() if "mask" in k]


# -------------------------------------------------------------------------------------------------------- gates, blocks


@given(st.lists(st.floats(-300, 300), min_size=2, max_size=12))
def test_the_gate_is_tanh_times_sigmoid(values):
    a = torch.tensor(values[: len(values) // 2 * 2], dtype=torch.float64)
    first, second = a.chunk(2)
    want = first.tanh() * second.sigmoid()
    assert torch.allclose(causal.gate(a, dim=0), want, rtol=0, atol=1e-15)
    stacked = a.view(1, -1, 1, 1).expand(2, -1, 3, 4)
    assert torch.allclose(causal.gate(stacked), want.view(1, -1, 1, 1).expand(2, -1, 3, 4), rtol=0, atol=1e-15)
    rows = a.expand(5, 2, -1)  # as the incremental sampler keeps features
    assert torch.allclose(causal.gate(rows, dim=-1), want.expand(5, 2, -1), rtol=0, atol=1e-15)


def moved(function, x, place):
    """Where each output of function moves when all features of x at `place` (row, column) do, bool (size, size)."""
    changed = x.clone()
    changed[..., place[0], place[1]] += 0.37
    before, after = function(x), function(changed)
    return [(a - b).abs().amax((0, 1)) > NOTHING for a, b in zip(after, before, strict=True)]


@pytest.mark.parametrize("dilation", [1, 2])
def test_the_stacks_of_a_gated_block(dilation):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = causal.GatedBlock(6, dilation, 1, 0).double().requires_grad_(False)
    v, h, size = randn(1, 6, 7, 7), randn(1, 6, 7, 7, seed=1), 7
    assert block.down.reach() == {(d * dilation, r * dilation) for d in (-1, 0) for r in (-1, 0, 1)}
    assert block.across.reach() == {(0, -dilation), (0, 0)}  # the pixel itself, beside what is carried on
    for row, column in itertools.product(range(size), repeat=2):
        sees = {(row + d * dilation, column + r * dilation) for d in (0, 1) for r in (-1, 0, 1)}
        wide = torch.tensor([[(i, j) in sees for j in range(size)] for i in range(size)])
        to_v, to_h = moved(lambda v: block(v, h), v, (row, column))
        assert torch.equal(to_v, wide) and torch.equal(to_h, wide)  # v moves h through the link
        to_v, to_h = moved(lambda h: block(v, h), h, (row, column))
        beside = [[i == row and j in (column, column + dilation) for j in range(size)] for i in range(size)]
        assert not to_v.any() and to_h.tolist() == beside  # h never moves v


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_masked_block(dilation):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = causal.MaskedBlock(32, dilation, 1, 0).double().requires_grad_(False)
    h, size = randn(1, 32, 7, 7), 7
    window = {(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0)}  # the pixel itself, beside what is carried on
    assert block.conv.reach() == {(d * dilation, r * dilation) for d, r in window}
    for row, column in itertools.product(range(size), repeat=2):
        ahead = {(0, 0), (0, 1), (1, -1), (1, 0), (1, 1)}
        sees = {(row + d * dilation, column + r * dilation) for d, r in ahead}
        [to_h] = moved(lambda h: [block(h)], h, (row, column))
        assert to_h.tolist() == [[(i, j) in sees for j in range(size)] for i in range(size)]


def test_a_label_adds_the_same_everywhere():
    model = pixelcnn.build(pixelcnn.Config(classes=3, size=9)).double().requires_grad_(False)
    block, (v, h) = model.blocks[0], (randn(2, 16, 9, 9), randn(2, 16, 9, 9, seed=1))
    for_v, for_h = block.label.weight[2].chunk(2)
    a = block.down(v)
    b = block.across(h) + block.link(a) + for_h.view(1, -1, 1, 1)
    want = v + causal.gate(a + for_v.view(1, -1, 1, 1)), h + block.leave(causal.gate(b))
    for got, expected in zip(block(v, h, torch.tensor([2, 2])), want, strict=True):
        assert torch.allclose(got, expected, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------------------- networks, every pair of pixels


def next_level(x, levels):
    """Every pixel of x one level up, the last level to black."""
    return ((x * (levels - 1)).round() + 1) % levels / (levels - 1)


def effects(model, size, pictures=None, chunk=196):
    """How far a changed sub-pixel moves each sub-pixel's logits: float64 (n, n), from row to column.

    Sub-pixels are ordered as they are drawn: pixels as one reads, a pixel's colours in turn. Each is changed to the
    next level. The largest over a few random pictures, because a ReLU may be dead at one of them, and over the levels.
    """
    c = model.config
    n = c.channels * size * size
    pictures = pictures or (1 if c.kind == "gated" else 4)  # gates never die
    largest = torch.zeros(n, n, dtype=torch.float64)
    for seed in range(pictures):
        x = torch.randint(c.levels, (1, c.channels, size, size), generator=generator(seed)).double() / (c.levels - 1)
        change = next_level(x, c.levels) - x
        label = torch.tensor([seed % c.classes]) if c.classes else None
        base, rows = model(x, label), []
        for one in torch.eye(n, dtype=torch.float64).split(chunk):
            changed = x + change * one.view(-1, size, size, c.channels).permute(0, 3, 1, 2)
            moved = (model(changed, None if label is None else label.expand(len(changed))) - base).abs().amax(1)
            moved = moved.view(-1, c.channels, size, size)
            rows.append(moved.permute(0, 2, 3, 1).reshape(-1, n))
        largest = torch.maximum(largest, torch.cat(rows))
    return largest


def fields(model, size, channels):
    """What the windows alone say: bool (n, n) as in effects. From the pixel itself only the colours before come."""
    pixel = torch.stack([pixelcnn.receptive_field(model, i // size, i % size).flatten() for i in range(size * size)], 1)
    every = pixel.repeat_interleave(channels, 0).repeat_interleave(channels, 1)
    if channels > 1:
        before = torch.ones(len(every), len(every)).triu(1).bool()
        assert pixel.diagonal().all()
        every &= before
    return every


WIDE = {"width": 24, "head": 48}  # no ReLU is dead everywhere
NETWORKS = {
    "gated": {},
    "gated, no dilation": {"dilations": (1, 1, 1)},
    "gated, classes": {"classes": 3},
    "gated, levels": {"levels": 4},
    "gated, classes and levels": {"classes": 10, "levels": 16},
    "gated, embedding": {"levels": 4, "embedding": 3},
    "masked": {"kind": "masked"},
    "masked, no dilation": {"kind": "masked", "dilations": (1, 1, 1)},
    "masked, as published": {"kind": "masked", "dilations": (1, 2, 1, 4, 1, 2)},
    "masked, classes": {"kind": "masked", "classes": 3},
    "masked, levels": {"kind": "masked", "levels": 4},
    "masked, classes and levels": {"kind": "masked", "classes": 10, "levels": 16},
    "masked, embedding": {"kind": "masked", "levels": 4, "embedding": 3},
    "gated, colour": {"channels": 3, "size": 5},
    "gated, colour, levels": {"channels": 3, "size": 5, "levels": 4},
    "gated, colour, classes": {"channels": 3, "size": 5, "classes": 3},
    "gated, colour, embedding": {"channels": 3, "size": 5, "levels": 4, "embedding": 2},
    "masked, colour": {"kind": "masked", "channels": 3, "size": 6},
    "masked, colour, levels": {"kind": "masked", "channels": 3, "size": 6, "levels": 4},
    "masked, colour, classes": {"kind": "masked", "channels": 3, "size": 6, "classes": 3},
    "masked, colour, embedding": {"kind": "masked", "channels": 3, "size": 6, "levels": 4, "embedding": 2},
}


def network(**changes):
    config = pixelcnn.Config(**{"size": 10, **WIDE, **changes})
    return pixelcnn.build(config).double().eval().requires_grad_(False)


@pytest.mark.parametrize("name", NETWORKS)
def test_changing_a_pixel_moves_what_comes_after_it_and_sees_it_and_nothing_else(name):
    model = network(**NETWORKS[name])
    size, channels = model.config.size, model.config.channels
    found = effects(model, size)
    before = torch.ones_like(found).triu(1).bool()  # from j to i: j < i
    assert found[~before].max() < NOTHING  # not even what rounding would do
    assert torch.equal(found > NOTHING, fields(model, size, channels))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["gated", "masked"])
def test_the_planted_bug_shows_each_pixel_to_itself_and_no_later_one(kind, channels):
    found = effects(network(kind=kind, channels=channels, size=6, first_mask="B"), 6)
    assert found.diagonal().min() > 1e-6
    assert found.tril(-1).max() < NOTHING


@pytest.mark.parametrize("kind", ["gated", "masked"])
def test_the_first_windows(kind):
    """Of the first layer alone: rows above for the vertical stack, pixels to the left for the horizontal one."""
    for first_mask, last in (("A", -1), ("B", 0)):
        model = network(kind=kind, first_mask=first_mask)
        above = {(d, r) for d in (-3, -2, -1) for r in range(-3, 4)}
        if kind == "gated":
            assert model.above.reach() == above
            assert model.left.reach() == {(0, r) for r in range(last - 2, last + 1)}
        else:
            assert model.first.reach() == above | {(0, r) for r in range(-3, last + 1)}


@pytest.mark.parametrize("name", pixelcnn.PUBLISHED)
def test_published_networks_do_not_look_ahead(name):
    """Sixteen pixels of a picture of 28 x 28, with the weights that are published (with random ones if none are)."""
    known = name in checkpoints.names()
    model = checkpoints.load(name, "cpu") if known else pixelcnn.build(pixelcnn.PUBLISHED[name])
    model = model.double().requires_grad_(False)
    x = pixelcnn.quantise(torch.rand(1, 1, 28, 28, generator=generator()), model.config.levels).double()
    labels = torch.full((17,), 7) if model.config.classes else None
    pixels = torch.linspace(0, 783, 16).long()
    changed = x.repeat(17, 1, 1, 1)
    every = next_level(x, model.config.levels).view(784)
    changed.view(17, 784)[torch.arange(16), pixels] = every[pixels]
    logits = model(changed, labels).flatten(2)
    moved = (logits[:16] - logits[16]).abs().amax(1)  # (pixel, 784)
    for k, j in enumerate(pixels.tolist()):
        assert moved[k, : j + 1].max() < NOTHING, j
        if j < 783:
            assert moved[k, j + 1 :].max() > 1e-4, j


# ---------------------------------------------------------------------------------- receptive fields and the blind spot


def gated_theory(size, reach):
    """All rows above and all pixels to the left, as far as the windows together reach: (n, n) from column to row."""
    at = torch.arange(size * size)
    down = (at // size)[None, :] - (at // size)[:, None]  # from j (row of the table) to i: how far j lies above
    right = (at % size)[:, None] - (at % size)[None, :]  # and how far to the right
    near = (right.abs() <= reach) & (down <= reach)
    return near & ((down > 0) | ((down == 0) & (right < 0))), down, right


@pytest.mark.parametrize("dilations", [(1,), (1, 1), (1, 2), (2, 1, 3)])
def test_the_gated_network_has_no_blind_spot(dilations):
    model, size = network(dilations=dilations), 10
    theory, *_ = gated_theory(size, 3 + sum(dilations))
    assert torch.equal(effects(model, size) > NOTHING, theory)


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_the_blind_spot_of_the_masked_network_is_the_wedge_that_theory_says(blocks):
    """A first window of 7 x 7, then 3 x 3 ones: each row further up, at most one column further to the right.

    The first window sees 3 columns to the right in the row above, and each block, going up a row, one more; a block
    that stays in its row cannot go to the right. So at distance d above at most d + 2 columns are seen, and what lies
    right of that, though no further away than the network sees to the left, is blind.
    """
    model, size, reach = network(kind="masked", dilations=(1,) * blocks), 10, 3 + blocks
    everything, down, right = gated_theory(size, reach)
    blind = everything & (down > 0) & (right > down + 2)
    assert blind.any()
    found = effects(model, size) > NOTHING
    assert torch.equal(found, everything & ~blind)
    # and no number of further blocks helps: the pixel right above, five columns on, stays unseen
    deeper = network(kind="masked", dilations=(1,) * 8)
    assert not pixelcnn.receptive_field(deeper, 5, 5)[4, 9]
    assert pixelcnn.receptive_field(deeper, 5, 5)[4, 1] and pixelcnn.receptive_field(network(), 5, 5)[4, 9]


def test_the_published_windows_at_28():
    """Every pixel of a full picture changed once, in a narrow network with the published windows."""
    model = network(width=8, head=32, size=28, dilations=(1, 2, 1, 4, 1, 2))
    theory, *_ = gated_theory(28, 14)
    found = effects(model, 28, chunk=98)
    assert torch.equal(found > NOTHING, theory)
    for row, column in [(0, 0), (0, 27), (27, 0), (27, 27), (14, 14), (9, 20), (20, 3)]:
        assert torch.equal(pixelcnn.receptive_field(model, row, column).flatten(), theory[:, 28 * row + column])


@pytest.mark.parametrize("kind", ["gated", "masked"])
def test_gradients_show_the_receptive_field_before_any_training(kind):
    model = network(kind=kind, size=28, dilations=(1, 2, 1, 4, 1, 2))
    x = torch.rand(4, 1, 28, 28, generator=generator(), dtype=torch.float64, requires_grad=True)
    model(x)[:, 0, 20, 12].sum().backward()
    assert torch.equal(x.grad.abs().amax((0, 1)) > NOTHING, pixelcnn.receptive_field(model, 20, 12))


def test_a_pixel_that_is_not_there_has_no_receptive_field():
    model = network(size=5)
    for row, column, message in [
        (5, 0, r"there is no pixel \(5, 0\) in a picture of 5 x 5"), (0, 5, r"there is no pixel \(0, 5\)"),
        (-1, 0, "row must be at least 0, got -1"), (0, -1, "column must be at least 0, got -1"),
        (0.5, 0, "row must be a whole number, got 0.5"),
    ]:  # fmt: skip
        with pytest.raises(Error, match=message):
            pixelcnn.receptive_field(model, row, column)


# ---------------------------------------------------------------------------------------------------------- the border


@pytest.mark.parametrize("kind", ["gated", "masked"])
def test_black_is_not_what_lies_beyond_the_border(kind):
    model = network(kind=kind)
    black, white = (model(torch.full((1, 1, 10, 10), v, dtype=torch.float64))[0, 0] for v in (0.0, 1.0))
    assert black[0, 0] == white[0, 0]  # the first pixel sees nothing but the border
    assert (black[0, 1] - black[0, 0]).abs() > 1e-5
    first = model.above if kind == "gated" else model.first  # after it biases tell the border as well
    seen = first(model.inputs(torch.zeros(1, 1, 10, 10, dtype=torch.float64)))[0]
    assert (seen[:, 5, 5] - seen[:, 0, 0]).abs().min() > 1e-5
