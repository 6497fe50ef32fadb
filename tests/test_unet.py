"""The U-Net: each piece against its formula, what must not matter does not, and what must matter does."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gentut import Error, unet

G = unet.GROUPS
SMALL = {"widths": (2 * G, 4 * G), "embedding": 8}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=3, seed=0):
    return torch.randn(n, 1, 28, 28, generator=generator(seed))


def loud(model, seed=0):
    """The model with small random numbers on all its weights, so that no layer is silent any more."""
    g = generator(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return model.eval()


def net(seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return unet.UNet(**(SMALL | options))


def t_of(*values):
    return torch.tensor(values, dtype=torch.float32)


T = t_of(1, 500, 1000)


# --------------------------------------------------------------------------------------------------- the time embedding


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5), st.integers(1, 40))
def test_the_embedding_is_its_formula(times, half):
    got = unet.time_embedding(torch.tensor(times), 2 * half)
    assert got.shape == (len(times), 2 * half) and got.dtype == torch.float32
    for row, t in zip(got.tolist(), times, strict=True):
        for k in range(half):
            angle = t * 10_000 ** (-2 * k / (2 * half))
            assert row[k] == pytest.approx(math.sin(angle), abs=3e-4)  # an angle of 1000 in float32: 1e-4
            assert row[half + k] == pytest.approx(math.cos(angle), abs=3e-4)


@given(st.integers(0, 900), st.integers(0, 900), st.integers(0, 100))
def test_how_alike_two_times_look_depends_on_their_distance_alone(t, s, later):
    one, other = (unet.time_embedding(t_of(a, b), 64).double() for a, b in ((t, s), (t + later, s + later)))
    assert (one[0] @ one[1]).item() == pytest.approx((other[0] @ other[1]).item(), abs=0.01)
    assert (one[0] @ one[0]).item() == pytest.approx(32, abs=1e-4)  # sin² + cos² of 32 frequencies


def test_near_times_look_alike_and_all_differ():
    rows = unet.time_embedding(torch.arange(1001), 64)
    alike = rows @ rows.T / 32
    assert alike[500, 501] > 0.9 > alike[500, 550] > alike[500, 900]
    assert (alike - torch.eye(1001)).max() < 0.999


@pytest.mark.parametrize(("width", "what"), [
    (3, "an embedding of sines and cosines has an even width, got 3"), (1, "width must be at least 2, got 1"),
    (0, "width must be at least 2"), (4.0, "width must be a whole number, got 4.0"), (True, "must be a whole number"),
])
def test_an_embedding_of_another_width_is_refused(width, what):
    with pytest.raises(Error, match=what):
        unet.time_embedding(torch.tensor([1]), width)


# ----------------------------------------------------------------------------------------------------------- the pieces


def group_norm(x, layer):
    """Group norm by hand: each picture by itself, each group of features over all its places."""
    parts = x.double().unflatten(1, (layer.num_groups, -1))
    mean, variance = parts.mean((2, 3, 4), keepdim=True), parts.var((2, 3, 4), unbiased=False, keepdim=True)
    y = ((parts - mean) / (variance + layer.eps).sqrt()).flatten(1, 2)
    return (y * layer.weight.double()[:, None, None] + layer.bias.double()[:, None, None]).float()


@pytest.mark.parametrize(("before", "after"), [(2 * G, 2 * G), (2 * G, 4 * G), (4 * G, 2 * G)])
def test_a_block_by_hand(before, after):
    block = loud(unet.Block(before, after, 8))
    x, e = torch.randn(3, before, 5, 5, generator=generator(1)), torch.randn(3, 8, generator=generator(2))
    with torch.no_grad():
        h = F.conv2d(F.silu(group_norm(x, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1)
        h = h + (e @ block.time.weight.T + block.time.bias)[:, :, None, None]
        h = F.conv2d(F.silu(group_norm(h, block.norm2)), block.conv2.weight, block.conv2.bias, padding=1)
        kept = x if before == after else F.conv2d(x, block.skip.weight, block.skip.bias)
        assert torch.allclose(block(x, e), kept + h, atol=1e-4)
    assert isinstance(block.skip, nn.Identity) == (before == after)


def test_attention_by_hand():
    width = 2 * G
    layer = loud(unet.Attention(width))
    x = torch.randn(2, width, 3, 3, generator=generator(1))
    with torch.no_grad():
        normed = group_norm(x, layer.norm)
        q, k, v = (torch.einsum("oc,nchw->nohw", w[:, :, 0, 0], normed) + b[:, None, None] for w, b in zip(
            layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3), strict=True))
        like = torch.einsum("ncij,nckl->nijkl", q, k) / math.sqrt(width)
        attended = like.flatten(3).softmax(3).view_as(like)
        seen = torch.einsum("nijkl,nckl->ncij", attended, v)
        out = torch.einsum("oc,nchw->nohw", layer.out.weight[:, :, 0, 0], seen) + layer.out.bias[:, None, None]
        assert torch.allclose(layer(x), x + out, atol=1e-5)


def test_pieces_begin_silent():
    x, e = torch.randn(2, 2 * G, 4, 4, generator=generator()), torch.randn(2, 8, generator=generator())
    assert torch.equal(unet.Block(2 * G, 2 * G, 8)(x, e), x) and torch.equal(unet.Attention(2 * G)(x), x)
    wider = unet.Block(2 * G, 4 * G, 8)
    assert torch.equal(wider(x, e), wider.skip(x))
    layer = unet.silent(nn.Linear(3, 2))
    assert (layer.weight == 0).all() and (layer.bias == 0).all() and layer.weight.requires_grad


def test_pixels_become_features_and_come_back():
    model, x = net(widths=(2 * G,), patch=4), noise()
    cut = model.cut(x)
    assert cut.shape == (3, 16, 7, 7) and torch.equal(model.join(cut), x)
    assert torch.equal(cut[0, :, 2, 3], x[0, 0, 8:12, 12:16].flatten())  # a place is a patch of the picture


def test_the_whole_network_by_hand():
    """Two sizes and one block: every way through, written out."""
    model = loud(net(classes=3, attention=True))
    x, labels = noise(), torch.tensor([0, 2, 3])
    with torch.no_grad():
        e = F.silu(model.time(unet.time_embedding(T, 8)) + model.label.weight[labels])
        fine = model.down[0][0](model.first(model.cut(x)), e)  # (3, ., 14, 14)
        coarse = model.down[1][0](model.smaller[0](fine), e)  # (3, ., 7, 7)
        h = model.up[0][0](model.attention(coarse) + coarse, e)
        h = model.larger[0](h.repeat_interleave(2, 2).repeat_interleave(2, 3))
        h = model.up[1][0](h + fine, e)
        want = model.join(model.last(F.silu(group_norm(h, model.norm))))
        assert torch.allclose(model(x, T, labels), want, atol=1e-4)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_way_up_is_given_what_the_way_down_saw_last_in_first_out(blocks):
    model, saw, given = loud(net(blocks=blocks)), [], []
    for part in model.down:
        for block in part:
            block.register_forward_hook(lambda module, args, out: saw.append(out))
    for part in model.up:
        for block in part:
            block.register_forward_hook(lambda module, args, out: given.append((args[0], out)))
    model(noise(), T)
    assert len(saw) == len(given) == 2 * blocks
    before = saw[-1]  # what comes up to the first block is what the last one on the way down gave
    for (x, out), kept in zip(given, reversed(saw), strict=True):
        assert x.shape == kept.shape
        if before.shape == kept.shape:  # not at the change of size
            assert torch.equal(x, before + kept)
        before = out


# ---------------------------------------------------------------------------------------------------------- the network


@settings(max_examples=25)
@given(st.sampled_from([(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (4, 1), (7, 1), (7, 2), (14, 1)]), st.integers(1, 2),
       st.booleans(), st.sampled_from([0, 1, 10]), st.sampled_from(["group", "batch"]), st.integers(1, 3),
       st.data())
def test_shapes_of_any_network(sizes, blocks, attention, classes, norm, n, data):
    patch, depth = sizes
    widths = tuple(G * data.draw(st.integers(1, 3)) for _ in range(depth))
    if patch == 1:
        attention = False  # 28 x 28 places that all see each other are slow
    model = loud(unet.UNet(widths, patch=patch, blocks=blocks, attention=attention, embedding=6, classes=classes,
                           norm=norm))
    labels = torch.randint(0, classes + 1, (n,), generator=generator()) if classes else None
    with torch.no_grad():
        y = model(noise(n), torch.arange(n), labels)
    assert y.shape == (n, 1, 28, 28) and y.dtype == torch.float32 and y.isfinite().all()
    assert (model.label is None) == (classes == 0)
    assert len(model.down) == len(model.up) == depth and len(model.smaller) == len(model.larger) == depth - 1


@pytest.mark.parametrize("options", [{}, {"attention": True, "classes": 10}, {"blocks": 2}, {"norm": "batch"}], ids=str)
def test_an_untrained_network_gives_0(options):
    model = net(**options)
    labels = torch.tensor([0, 9, 10]) if options.get("classes") else None
    y = model(100 * noise(), T, labels)
    assert (y == 0).all() and y.requires_grad  # and can learn: the last layer's slope is not 0
    (y - noise(seed=1)).square().mean().backward()
    assert model.last.weight.grad.abs().max() > 0


def test_every_weight_is_used():
    model = loud(net(attention=True, classes=4, blocks=2))
    model(noise(5), torch.arange(5), torch.arange(5)).square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name
    assert (model.label.weight.grad.abs().amax(1) > 0).all()  # every row, that of "no label" too


@pytest.mark.parametrize("options", [{}, {"attention": True}], ids=str)
def test_a_picture_does_not_depend_on_the_others_of_its_batch(options):
    model = loud(net(classes=2, **options)).train()  # group norm is the same in training
    x, labels = noise(), torch.tensor([0, 1, 2])
    with torch.no_grad():
        y = model(x, T, labels)
        for i in range(3):
            assert torch.allclose(y[i], model(x[i : i + 1], T[i : i + 1], labels[i : i + 1])[0], atol=1e-5)
        x[1:] = 100.0  # whatever the neighbours are
        assert torch.allclose(model(x, T, labels)[0], y[0], atol=1e-5)


def test_with_batch_norm_it_does_while_it_learns():
    """Why two processes would not follow one, and why the book uses group norm."""
    model, x = loud(net(norm="batch")), noise()
    with torch.no_grad():
        trained = (model(x[:1], T[:1])[0] - model(x, T)[0]).abs().max()
        learning = (model.train()(x[:1], T[:1])[0] - model(x, T)[0]).abs().max()
    assert trained < 1e-5 < 1e-2 < learning


def test_the_time_and_the_label_matter():
    model, x = loud(net(classes=3)), noise(1)
    with torch.no_grad():
        one = model(x, t_of(500), torch.tensor([1]))
        assert torch.equal(one, model(x, torch.tensor([500]), torch.tensor([1])))  # a whole number is a time as well
        seen = [one] + [model(x, t_of(t), torch.tensor([1])) for t in (1, 400, 1000)]
        seen += [model(x, t_of(500), torch.tensor([k])) for k in (0, 2, 3)]
    for i, a in enumerate(seen):
        for b in seen[:i]:
            assert (a - b).abs().max() > 1e-5


def test_the_label_is_a_row_of_the_table_and_the_last_row_is_none():
    model = loud(net(classes=3))
    assert model.label.weight.shape == (4, 8)
    with torch.no_grad():
        plain = model.time(unet.time_embedding(T, 8))
        for k in range(4):
            assert torch.allclose(model.embed(T, torch.full((3,), k)), F.silu(plain + model.label.weight[k]), atol=1e-6)
        x, nobody = noise(), torch.full((3,), 3)
        before = [model(x, T, torch.full((3,), k)) for k in range(4)]
        model.label.weight[3] += 1
        after = [model(x, T, torch.full((3,), k)) for k in range(4)]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, True, False]
    with torch.no_grad():
        model.label.weight[3] = 0  # a label that adds nothing: the network without labels
        bare = loud(net())
        bare.load_state_dict({k: v for k, v in model.state_dict().items() if k != "label.weight"})
        assert torch.equal(model(x, T, nobody), bare(x, T))


@pytest.mark.parametrize("options", [{}, {"attention": True}, {"blocks": 2}, {"norm": "batch"}], ids=str)
def test_where_features_lie_in_memory_does_not_matter(options):
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model = loud(net(classes=2, **options)).to(memory_format=layout)
        x = noise().contiguous(memory_format=layout).requires_grad_()
        y = model(x, T, torch.tensor([0, 1, 2]))
        y.square().mean().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * (1 + a.abs().max().item()))


def test_it_runs_in_bf16():
    model, labels = loud(net(classes=2, attention=True)), torch.tensor([0, 1, 2])
    with torch.no_grad():
        exact = model(noise(), T, labels)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(noise(), T, labels)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_the_default_is_small_enough_for_a_page():
    model = unet.UNet(classes=10)
    assert sum(p.numel() for p in model.parameters()) <= 150_000
    assert [tuple(m.weight.shape) for m in (model.first, model.smaller[0], model.larger[0], model.last)] == [
        (32, 4, 3, 3), (32, 32, 3, 3), (32, 48, 1, 1), (4, 32, 3, 3)]


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(("options", "what"), [
    ({"widths": ()}, r"need at least one width, .*got \(\), 2, 1, 0 and 8"),
    ({"patch": 0}, "patch >= 1"),
    ({"patch": -2}, "patch >= 1"),
    ({"blocks": 0}, "blocks >= 1"),
    ({"classes": -1}, "classes >= 0"),
    ({"embedding": 7}, "an even embedding >= 2, got .* 7"),
    ({"embedding": 0}, "an even embedding >= 2"),
    ({"patch": 3}, "28 pixels cannot be cut into patches of 3 and halved 1 times"),
    ({"widths": (G, G, G)}, "28 pixels cannot be cut into patches of 2 and halved 2 times"),
    ({"patch": 8}, "28 pixels cannot be cut into patches of 8"),
    ({"norm": "layer"}, "unknown norm 'layer'. There are: group, batch"),
], ids=str)
def test_networks_that_cannot_be_are_refused(options, what):
    with pytest.raises(Error, match=what):
        unet.UNet(**(SMALL | options))


@pytest.mark.skipif(G == 1, reason="one group fits every width")
def test_widths_that_make_no_groups_are_refused():
    what = rf"group norm makes {G} groups: widths takes multiples of {G}, got \({G}, {G + 1}\)"
    with pytest.raises(Error, match=what):
        unet.UNet((G, G + 1))
    assert unet.UNet((G, G + 1), norm="batch")
