"""The PixelCNN chapter's network: its likelihood is a probability, its training learns, its mistakes are clear."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, checkpoints, data, metrics, pixelcnn, runs

TINY = pixelcnn.Config(data="mnist-mini", width=6, head=12, dilations=(1,), steps=4, batch_size=16)
SMALL = TINY.replace(size=8)
CONFIGURATIONS = {
    "gated": {}, "masked": {"kind": "masked"}, "classes": {"classes": 3}, "levels": {"levels": 4},
    "masked, classes and levels": {"kind": "masked", "classes": 3, "levels": 16}, "colour": {"channels": 3},
    "colour, classes and levels": {"channels": 3, "classes": 3, "levels": 4},
    "embedding": {"levels": 4, "embedding": 3}, "colour, embedding": {"channels": 3, "levels": 4, "embedding": 2},
    "masked colour": {"kind": "masked", "channels": 3, "levels": 4},
}  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(size=5, sharpness=6.0, **changes):
    """An untrained float64 network whose logits really depend on the picture."""
    model = pixelcnn.build(TINY.replace(size=size, dilations=(1, 2), **changes)).double().eval()
    with torch.no_grad():
        model.out.weight.mul_(sharpness)
    return model.requires_grad_(False)


def pictures(model, n=4, seed=0):
    """Random pictures on the model's levels, float64."""
    c = model.config
    u = torch.rand(n, c.channels, c.size, c.size, generator=generator(seed), dtype=torch.float64)
    return (u * c.levels).floor() / (c.levels - 1)


def labels_for(model, n):
    return torch.arange(n, 0, -1) % model.config.classes if model.config.classes else None


def blobs(n=128, size=8, seed=0):
    """Small grey pictures, easy to predict a little: uint8 (n, size, size)."""
    coarse = torch.rand(n, 1, 3, 3, generator=generator(seed))
    return (torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")[:, 0] * 255).to(torch.uint8)


# --------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_shapes_of_the_logits(name):
    model = pixelcnn.build(TINY.replace(size=9, **CONFIGURATIONS[name]))
    c = model.config
    logits = model(torch.zeros(2, c.channels, 9, 9), labels_for(model, 2))
    levels = 1 if c.levels == 2 else c.levels
    assert logits.shape == ((2, levels, 9, 9) if c.channels == 1 else (2, levels, 3, 9, 9))
    log_p = pixelcnn.log_prob(model, torch.zeros(2, c.channels, 9, 9), labels_for(model, 2))
    assert log_p.shape == (2,) and log_p.dtype == torch.float32 and (log_p < 0).all()


def test_the_published_logits_have_the_size_that_is_promised():
    shapes = {}
    for name, config in pixelcnn.PUBLISHED.items():
        model = pixelcnn.build(config).requires_grad_(False)
        shapes[name] = tuple(model(torch.zeros(2, 1, 28, 28), labels_for(model, 2)).shape)
    binary, grey = (2, 1, 28, 28), (2, 256, 28, 28)
    assert shapes == {"pixelcnn-binary": binary, "pixelcnn-grey": grey, "pixelcnn-page": binary}


def test_building_is_seeded_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    a = pixelcnn.build(TINY)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    b, c = pixelcnn.build(TINY), pixelcnn.build(TINY.replace(seed=1))
    pairs = list(zip(a.parameters(), b.parameters(), c.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q, _ in pairs) and not any(torch.equal(p, r) for p, _, r in pairs)


# ------------------------------------------------------------------------------------------ the likelihood is a product


def chain(model, x, labels=None):
    """log p(x) pixel by pixel: each factor from a picture in which only the pixels before it are true. (batch,)"""
    c, total = model.config, 0
    for row, column, colour in itertools.product(range(c.size), range(c.size), range(c.channels)):
        seen = 1 - x  # wrong everywhere ...
        for i, j, k in itertools.product(range(c.size), range(c.size), range(c.channels)):
            if (i, j, k) < (row, column, colour):
                seen[:, k, i, j] = x[:, k, i, j]  # ... but before
        logits = model(seen, labels)
        logits = (logits if logits.ndim == 5 else logits.unsqueeze(2))[:, :, colour, row, column]
        level = (x[:, colour, row, column] * (c.levels - 1)).round().long()
        if c.levels == 2:
            p = torch.sigmoid(logits[:, 0])
            total = total + torch.where(level == 1, p, 1 - p).log()
        else:
            total = total + logits.log_softmax(1)[torch.arange(len(x)), level]
    return total


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_log_prob_is_the_sum_over_pixels_of_what_the_pixels_before_say(name):
    model = network(size=4, **CONFIGURATIONS[name])
    x, labels = pictures(model), labels_for(model, 4)
    log_p = pixelcnn.log_prob(model, x, labels)
    assert torch.allclose(log_p, chain(model, x, labels), rtol=0, atol=1e-10)
    assert log_p.std() > 0.1
    assert torch.equal(pixelcnn.nats(model(x, labels), x), -log_p)


@pytest.mark.parametrize("changes", [
    {"size": 3}, {"size": 3, "kind": "masked"}, {"size": 3, "classes": 2}, {"size": 3, "kind": "masked", "classes": 2},
    {"size": 2, "levels": 5}, {"size": 3, "levels": 3}, {"size": 2, "levels": 5, "kind": "masked"},
    {"size": 2, "levels": 5, "embedding": 2}, {"size": 2, "channels": 3, "embedding": 1},
    {"size": 2, "channels": 3}, {"size": 2, "channels": 3, "kind": "masked"},
], ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()))  # fmt: skip
def test_the_probabilities_of_all_pictures_sum_to_one(changes):
    model = network(**changes)
    c = model.config
    values = torch.arange(c.levels, dtype=torch.float64) / (c.levels - 1)
    everything = torch.cartesian_prod(*[values] * (c.channels * c.size**2)).view(-1, c.channels, c.size, c.size)
    assert len(everything) == c.levels ** (c.channels * c.size**2)
    for label in range(c.classes or 1):
        labels = torch.full((len(everything),), label) if c.classes else None
        p = pixelcnn.log_prob(model, everything, labels).exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-12)
        assert p.max() > 2 * p.mean()  # far from uniform


def test_a_network_that_sees_the_pixel_it_predicts_has_no_probabilities():
    """What the planted bug calls log p(x) does not sum to 1: this sum can fail."""
    model = network(size=3, first_mask="B")
    everything = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 9).view(-1, 1, 3, 3)
    assert abs(pixelcnn.log_prob(model, everything).exp().sum().item() - 1) > 0.05


def test_colours_with_levels_sum_to_one_at_every_sub_pixel():
    """A full sum has 3^12 terms; here a picture's last pixel takes all its colours, and the sum is over that alone."""
    model = network(size=3, channels=3, levels=4)
    x = pictures(model, 1)
    colours = torch.cartesian_prod(*[torch.arange(4, dtype=torch.float64) / 3] * 3)
    every = x.repeat(64, 1, 1, 1)
    every[:, :, 2, 2] = colours
    log_p = pixelcnn.log_prob(model, every)
    before = log_p.logsumexp(0)  # log p(all but the last pixel)
    other = every.clone()
    other[:, :, 2, 2] = 0
    logits = model(other[:1])[0, :, 0]  # red of the last pixel knows nothing of the last pixel
    red = (log_p - before).view(4, 16).logsumexp(1)
    assert torch.allclose(red, logits[:, 2, 2].log_softmax(0), rtol=0, atol=1e-10)


@given(st.lists(st.floats(-40, 40), min_size=3, max_size=3), st.integers(0, 2))
def test_nats_of_a_pixel_by_hand(logits, level):
    z = torch.tensor(logits, dtype=torch.float64)
    want = (z.exp().sum() / z[level].exp()).log().item()
    got = pixelcnn.nats(z.view(1, 3, 1, 1), torch.full((1, 1, 1, 1), level / 2, dtype=torch.float64))
    assert got.item() == pytest.approx(want, rel=1e-9, abs=1e-9)
    binary = pixelcnn.nats(z[:1].view(1, 1, 1, 1), torch.full((1, 1, 1, 1), float(level > 0), dtype=torch.float64))
    p = torch.sigmoid(z[0] if level else -z[0]).item()
    assert binary.item() == pytest.approx(-math.log(p), rel=1e-9, abs=1e-9)


def test_nats_of_extreme_and_of_half_precise_logits():
    x = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    for logit in (-1e4, 1e4):  # a logit, not a probability, is what keeps this finite
        assert pixelcnn.nats(torch.full((1, 1, 1, 2), logit), x).item() == 1e4
    logits = torch.randn(2, 4, 5, 5, generator=generator())
    x = (torch.rand(2, 1, 5, 5, generator=generator()) * 4).floor() / 3
    for kind in (torch.bfloat16, torch.float16):  # sums of 784 pixels are not taken in half precision
        rough = logits.to(kind)
        assert torch.equal(pixelcnn.nats(rough, x), pixelcnn.nats(rough.float(), x))
        assert pixelcnn.nats(rough, x).dtype == torch.float32


def test_an_indifferent_network_has_a_bit_a_pixel():
    for levels, bits in ((2, 1), (4, 2), (256, 8)):
        model = network(size=28, levels=levels)
        with torch.no_grad():
            model.out.weight.zero_()
            model.out.bias.zero_()
        nats = -pixelcnn.log_prob(model, pictures(model, 2))
        assert nats.tolist() == pytest.approx([784 * bits * math.log(2)] * 2)
        assert metrics.nats_to_bits_per_dim(nats[0].item()) == pytest.approx(bits)


# --------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("kind", ["gated", "masked"])
def test_a_label_speaks_for_its_own_picture_alone(kind):
    model = network(kind=kind, classes=3)
    x, labels = pictures(model, 6), torch.tensor([2, 0, 1, 1, 0, 2])
    log_p = pixelcnn.log_prob(model, x, labels)
    for k in range(6):
        alone = pixelcnn.log_prob(model, x[k : k + 1], labels[k : k + 1])
        assert alone.item() == pytest.approx(log_p[k].item(), abs=1e-10)
    assert torch.equal(log_p, pixelcnn.log_prob(model, x, labels.tolist()))
    assert torch.equal(log_p, pixelcnn.log_prob(model, x, labels.int()))
    moved = (model(x, labels) - model(x, (labels + 1) % 3)).abs().amax((0, 1))
    assert moved.min() > 1e-6  # every pixel hears of the label, the first as well


# --------------------------------------------------------------------------------------------------------------- levels


@given(st.integers(2, 256))
def test_quantising_is_to_equally_many_greys(levels):
    greys = torch.arange(256).view(1, 1, 16, 16) / 255
    x = pixelcnn.quantise(greys, levels)
    level = x * (levels - 1)
    assert (level - level.round()).abs().max() < 1e-4
    level = level.round().long().flatten()
    assert level.tolist() == [grey * levels // 256 for grey in range(256)]
    assert x.min() == 0 and x.max() == 1 and (level.diff() >= 0).all()
    counts = level.bincount(minlength=levels)
    assert counts.min() >= 256 // levels and counts.max() <= -(-256 // levels)
    pixelcnn.build(TINY.replace(levels=levels, size=16)).check_pictures(x)
    if levels <= 16:  # shown as the nearest of 256 greys, a level is still the same level
        assert torch.equal(pixelcnn.quantise((x * 255).round() / 255, levels), x)


def test_levels_survive_single_precision():
    """k / (levels - 1) · (levels - 1) may fall just below k."""
    below = []
    for levels in range(3, 257):
        x = (torch.arange(levels) / (levels - 1)).view(levels, 1, 1, 1)
        below += [levels] * ((x * (levels - 1)).long().flatten() != torch.arange(levels)).any()
        certain = 100 * torch.eye(levels).view(levels, levels, 1, 1)  # of the right level, and of it alone
        assert pixelcnn.nats(certain, x).max() < 1e-6
    levels = below[0]
    model = pixelcnn.build(TINY.replace(levels=levels, embedding=1, size=levels))
    x = (torch.arange(levels) / (levels - 1)).expand(1, 1, levels, levels)
    assert torch.equal(model.inputs(x)[0, 1, 0], model.level.weight[:, 0])


def test_what_a_network_is_tested_on():
    images = data.load("mnist-mini").test_images[:20]
    two, four, grey = (pixelcnn.build(TINY.replace(levels=n)) for n in (2, 4, 256))
    assert torch.equal(pixelcnn.test_pictures(two, images), data.binarise(images))
    assert torch.equal(pixelcnn.test_pictures(four, images), pixelcnn.quantise(data.to_unit(images), 4))
    assert torch.allclose(pixelcnn.test_pictures(grey, images), data.to_unit(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_embedding_stands_beside_the_grey(channels):
    model = network(levels=4, embedding=2, channels=channels)
    x = pictures(model, 3)
    seen = model.inputs(x)
    assert seen.shape == (3, 3 * channels, 5, 5) and torch.equal(seen[:, :channels], 2 * x - 1)
    for picture, colour, row, column in itertools.product(range(3), range(channels), range(5), range(5)):
        level = round(3 * x[picture, colour, row, column].item())
        features = seen[picture, channels + colour :: channels, row, column]  # feature f is of colour f % channels
        assert torch.equal(features, model.level.weight[level])
    assert pixelcnn.build(TINY.replace(levels=4)).level is None


class Fixed:
    """A training.Noise whose numbers are known."""

    def __init__(self, u):
        self.u = u

    def uniform(self, *shape):
        assert self.u.shape[1:] == shape
        return self.u


def test_training_draws_black_and_white_anew_by_the_grey():
    model, u = pixelcnn.build(TINY), torch.rand(3, 1, 28, 28, generator=generator())
    x = data.to_unit(data.load("mnist-mini").train_images[:3])
    loss = pixelcnn.losses(model, x, None, Fixed(u))
    assert loss.keys() == {"loss"}
    assert torch.equal(loss["loss"], -pixelcnn.log_prob(model, (u < x).float()))
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for end in (0.0, 1 - 2**-24):  # black and white are never flipped
        pixelcnn.losses(model, x.round(), None, Fixed(torch.full_like(u, end)))
    assert all(torch.equal(s, x.round()) for s in seen)
    grey = pixelcnn.build(TINY.replace(levels=16))
    want = -pixelcnn.log_prob(grey, pixelcnn.quantise(x, 16))
    assert torch.equal(pixelcnn.losses(grey, x, None, None)["loss"], want)  # no noise is drawn


# ------------------------------------------------------------------------------------------------------------- training


def test_the_test_preset_learns():
    run = pixelcnn.train(pixelcnn.Config.preset("test"), device="cpu")
    steps, loss = run.curve("loss")
    assert steps == [5, 10, 15, 20]
    assert loss == sorted(loss, reverse=True) and loss[-1] < 400 < loss[0] < 560  # an untrained one: 784 log 2 = 543
    assert not run.model.training


@pytest.mark.parametrize("changes", [
    {"classes": 10}, {"classes": 10, "precision": "bf16", "ema": 0.9, "warmup": 3, "decay": "cosine"},
    {"classes": 10, "kind": "masked", "levels": 4, "embedding": 2},
], ids=["gated", "as published", "masked"])  # fmt: skip
def test_a_run_with_labels_goes_on_bitwise(tmp_path, monkeypatch, changes):
    config = SMALL.replace(steps=20, log_every=3, save_every=4, **changes)  # epochs of 8 steps
    images, labels = blobs(), torch.arange(128) % 10
    options = {"images": images, "labels": labels, "device": "cpu"}
    whole = pixelcnn.train(config, **options)
    calls, losses = itertools.count(1), pixelcnn.losses

    def crash(*args):
        if next(calls) in (7, 16):
            raise KeyError("the power went")
        return losses(*args)

    monkeypatch.setattr(pixelcnn, "losses", crash)
    for resume in (False, True):
        with pytest.raises(KeyError, match="the power went"):
            pixelcnn.train(config, out=tmp_path / "run", resume=resume, **options)
    run = pixelcnn.train(config, out=tmp_path / "run", resume=True, **options)
    assert run.step == 20 and next(calls) > 20 + 2  # some steps were made twice
    for (name, a), b in zip(run.model.state_dict().items(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.history] for r in (run, whole)]
    assert rows[0] == rows[1]
    loaded = checkpoints.load(tmp_path / "run/weights.safetensors", "cpu")  # a run can be loaded as it lies
    assert loaded.config == config
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), run.model.parameters(), strict=True))


def test_seeds_and_labels_make_a_difference():
    images, labels = blobs(), torch.arange(128) % 10
    config = SMALL.replace(classes=10)

    def weights(labels=labels, **changes):
        run = pixelcnn.train(config.replace(**changes), images=images, labels=labels, device="cpu")
        return torch.cat([p.detach().flatten() for p in run.model.parameters()])

    first = weights()
    assert torch.equal(first, weights())
    assert not torch.equal(first, weights(seed=1))
    assert not torch.equal(first, weights(labels=labels.flip(0)))


def test_a_label_that_tells_the_picture_is_learnt():
    """Two kinds of picture, black and white, told apart by the label: it is worth a bit, and Bayes' rule finds it."""
    labels = torch.arange(128) % 2
    images = (255 * labels.to(torch.uint8))[:, None, None].expand(-1, 8, 8).contiguous()
    config = SMALL.replace(classes=2, steps=80, learning_rate=1e-2)
    told = pixelcnn.train(config, images=images, labels=labels, device="cpu").model
    alone = pixelcnn.train(config.replace(classes=0), images=images, device="cpu").model
    x, y = pixelcnn.test_pictures(told, images[:2]), labels[:2]
    with torch.no_grad():
        right, wrong = pixelcnn.log_prob(told, x, y), pixelcnn.log_prob(told, x, 1 - y)
        blind = pixelcnn.log_prob(alone, x)
    assert right.min() > -0.5 and wrong.max() < -2
    assert blind.min() > -1.3 and blind.sum() < -1.2  # together no better than log 2 each
    assert torch.equal(pixelcnn.sample(told, 6).amax((1, 2, 3)), torch.tensor([0.0, 1, 0, 1, 0, 1]))


def test_the_planted_bug_predicts_coins_and_draws_nothing():
    """Coins cannot be predicted: 64 log 2 nats. Shown the pixel itself (mask B), a network "predicts" them all."""
    coins = 255 * torch.randint(0, 2, (256, 8, 8), generator=generator(), dtype=torch.uint8)
    limit = 64 * math.log(2)
    config = SMALL.replace(width=16, steps=120, batch_size=32, learning_rate=1e-2, decay="cosine", log_every=20)
    honest = pixelcnn.train(config, images=coins, device="cpu")
    assert limit - 3 < honest.curve("loss")[1][-1] < limit + 1  # a little is learnt by heart
    bug = pixelcnn.train(config.replace(first_mask="B"), images=coins, device="cpu")
    assert bug.curve("loss")[1][-1] < 2
    noise = torch.randint(0, 2, (4, 1, 8, 8), generator=generator(1)).float()
    for start in (torch.zeros_like(noise), noise):  # blank from zeros, noise from noise
        drawn = pixelcnn.sample(bug.model, 4, method="naive", start=start, generator=generator())
        assert (drawn == start).float().mean() > 0.98
        healthy = pixelcnn.sample(honest.model, 4, method="naive", start=start, generator=generator())
        assert 0.35 < (healthy == start).float().mean() < 0.65


# ----------------------------------------------------------------------------------------------- measured and published


def test_evaluate_says_what_it_measured():
    for levels, kind in ((2, "binarised, seed 0"), (4, "4 greys")):
        model = pixelcnn.build(TINY.replace(levels=levels)).eval()
        got = pixelcnn.evaluate(model, "mnist-mini", n=30, batch=7)
        x = pixelcnn.test_pictures(model, data.load("mnist-mini").test_images[:30])
        nats = -pixelcnn.log_prob(model, x).detach().double()
        assert got["nats"] == pytest.approx(nats.mean().item(), rel=1e-6)
        assert got["standard_error"] == pytest.approx(nats.std().item() / math.sqrt(30), rel=1e-4)
        assert got["bits_per_dim"] == pytest.approx(got["nats"] / 784 / math.log(2))
        assert (got["n"], got["pictures"]) == (30, f"the first 30 test pictures of mnist-mini, {kind}")
        assert ("binarised_sha256" in got) == (levels == 2) and "accuracy" not in got and "conditional_nats" not in got
        train = pixelcnn.evaluate(model, "mnist-mini", n=30, split="train")
        assert "train pictures" in train["pictures"] and train["nats"] != got["nats"]
    binarised = data.binarise(data.load("mnist-mini").test_images[:30])
    assert pixelcnn.evaluate(pixelcnn.build(TINY), "mnist-mini", n=30)["binarised_sha256"] == data.digest(
        binarised.to(torch.uint8)
    )


def test_a_network_with_classes_is_scored_on_its_marginal():
    model = pixelcnn.build(TINY.replace(classes=10))
    with torch.no_grad():
        model.blocks[0].label.weight.mul_(3)
    got = pixelcnn.evaluate(model, "mnist-mini", n=40, batch=16)
    dataset = data.load("mnist-mini")
    x, y = data.binarise(dataset.test_images[:40]), dataset.test_labels[:40]
    with torch.no_grad():
        each = torch.stack([pixelcnn.log_prob(model, x, [k] * 40) for k in range(10)], dim=1).double()
    want = -(each.logsumexp(1) - math.log(10)).mean().item()
    assert got["nats"] == pytest.approx(want, rel=1e-6)
    assert got["conditional_nats"] == pytest.approx(-each[range(40), y].mean().item(), rel=1e-6)
    assert got["accuracy"] == pytest.approx((each.argmax(1) == y).double().mean().item())
    assert each.std(1).min() > 0.1
    # the mean of ten probabilities lies between a tenth of the largest and the largest
    assert -each.max(1).values.mean() < got["nats"] < -each.max(1).values.mean() + math.log(10)


@pytest.mark.parametrize("classes", [0, 2])
def test_reproduce_trains_measures_and_writes_a_card(tmp_path, monkeypatch, classes):
    config, dataset = TINY.replace(classes=classes, width=2, head=2, steps=5), data.load("mnist-mini")
    if classes:  # fewer pictures, fewer labels: it is measured once for each
        few = {f"{s}_{k}": getattr(dataset, f"{s}_{k}")[:1000] for s in ("train", "test") for k in ("images", "labels")}
        dataset = dataclasses.replace(dataset, **{k: v % 2 if "labels" in k else v for k, v in few.items()})
        monkeypatch.setattr(data, "load", lambda name: dataset)
    monkeypatch.setitem(pixelcnn.PUBLISHED, "tiny", config)
    out = tmp_path / "tiny"
    card = pixelcnn.reproduce("tiny", out, device="cpu")
    path = out / "tiny.safetensors"
    assert card == checkpoints.card(path) and pixelcnn.Config(**card["config"]) == config
    model = checkpoints.load(path, "cpu")
    again, stated = pixelcnn.evaluate(model, "mnist-mini", n=1000), card["metrics"]["mini"]
    assert again == {k: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v for k, v in stated.items()}
    assert ("few" in card["metrics"]) == bool(classes)  # with ten labels each, all of them take too long
    if classes:
        few = pixelcnn.evaluate(model, "mnist-mini", n=20)
        assert few == {k: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v
                       for k, v in card["metrics"]["few"].items()}
    test = card["metrics"]["test"]
    assert test["n"] == len(dataset.test_images) and ("accuracy" in test) == bool(classes)
    known = (dataset.train_images, dataset.train_labels) if classes else (dataset.train_images,)
    assert card["data_sha256"] == data.digest(*known)
    assert (card["family"], card["seed"], card["steps"]) == ("pixelcnn", 0, 5) and card["seconds"] >= 0
    if not classes:
        with pytest.raises(Error, match="already holds"):
            pixelcnn.reproduce("tiny", out, device="cpu")
        path.unlink()
        again = pixelcnn.reproduce("tiny", out, resume=True, device="cpu")
        assert again["sha256"] == card["sha256"] and runs.sha256(path.read_bytes()) == card["sha256"]


def test_what_is_published_is_what_the_chapter_promises():
    weights = {k: sum(p.numel() for p in pixelcnn.build(c).parameters()) for k, c in pixelcnn.PUBLISHED.items()}
    assert 2 * weights["pixelcnn-page"] < 0.98e6  # float16, with its header at most 1 MB
    for config in pixelcnn.PUBLISHED.values():
        assert (config.kind, config.first_mask, config.channels, config.data) == ("gated", "A", 1, "mnist")
    levels = {k: (c.levels, c.classes) for k, c in pixelcnn.PUBLISHED.items()}
    assert levels == {"pixelcnn-binary": (2, 0), "pixelcnn-grey": (256, 0), "pixelcnn-page": (2, 10)}


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(("changes", "message"), [
    ({"kind": "gatd"}, "unknown kind 'gatd'. There are: gated, masked. Did you mean 'gated'"),
    ({"first_mask": "C"}, "unknown first_mask 'C'. There are: A, B"),
    ({"channels": 2}, "unknown number of channels 2. There are: 1, 3"),
    ({"levels": 1}, "levels must lie in 2 to 256, got 1"), ({"levels": 257}, "levels must lie in 2 to 256, got 257"),
    ({"size": 1}, "size must be at least 2, got 1"), ({"classes": -1}, "need classes >= 0, .* got -1, 6, 12 and"),
    ({"width": 1}, "need .* width >= 2, .* got 0, 1, 12 and"), ({"head": 0}, "head >= 1 .* got 0, 6, 0 and"),
    ({"embedding": -1}, "embedding must be at least 0, got -1"),
    ({"dilations": ()}, r"at least one dilation, got 0, 6, 12 and \(\)"),
    ({"dilations": (0,)}, "dilations takes positive whole numbers"),
    ({"channels": 3, "width": 8}, "width must be a multiple of 6 and head of 3, got 8 and 12"),
    ({"channels": 3, "head": 8}, "width must be a multiple of 6 and head of 3, got 6 and 8"),
    ({"latent": 2}, "unknown setting 'latent'"),
])  # fmt: skip
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(Error, match=message):
        TINY.replace(**changes)


def test_presets():
    for scale in ("test", "cpu", "gpu"):
        config = pixelcnn.Config.preset(scale)
        assert config.kind == "gated" and config.levels == 2 and config.first_mask == "A"
    with pytest.raises(Error, match="unknown scale 'cpuu'. There are: test, cpu, gpu. Did you mean 'cpu'"):
        pixelcnn.Config.preset("cpuu")


BLACK = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(("x", "message"), [
    (BLACK + 0.5, "this network knows 2 levels, the values k / 1; got the pixel 0.5. pixelcnn.quantise or data.binar"),
    (BLACK + 2, "this network knows 2 levels, .*got the pixel 2"), (BLACK - 1, "knows 2 levels, .*got the pixel -1"),
    (BLACK * math.nan, "knows 2 levels, .*got the pixel nan"), (BLACK - math.inf, "knows 2 levels, .*pixel -inf"),
    (torch.zeros(2, 1, 28, 28), r"pictures must have shape \(batch, 1, 8, 8\), got \(2, 1, 28, 28\)"),
    (torch.zeros(2, 1, 8, 7), r"pictures must have shape \(batch, 1, 8, 8\), got \(2, 1, 8, 7\)"),
    (torch.zeros(2, 3, 8, 8), r"pictures must have shape \(batch, 1, 8, 8\), got \(2, 3, 8, 8\)"),
    (torch.zeros(1, 8, 8), r"pictures must have shape \(batch, 1, 8, 8\), got \(1, 8, 8\)"),
    (BLACK.double(), "pictures must have the weights' type torch.float32, got torch.float64"),
    (BLACK.byte(), "pictures must be a float tensor, got torch.uint8"),
    (BLACK.numpy(), "pictures must be a float tensor, got ndarray"),
], ids=["grey", "above 1", "below 0", "nan", "inf", "large", "oblong", "colour", "flat", "double", "uint8", "numpy"])
def test_wrong_pictures_are_refused(x, message):
    with pytest.raises(Error, match=message):
        pixelcnn.log_prob(pixelcnn.build(SMALL), x)


def test_pictures_off_the_grid_of_more_levels_are_refused():
    for levels, wrong in ((4, 0.5), (256, 0.5), (16, 1 / 255)):
        model = pixelcnn.build(SMALL.replace(levels=levels))
        with pytest.raises(Error, match=f"{levels} levels, the values k / {levels - 1}; got the pixel {wrong:.6g}"):
            pixelcnn.log_prob(model, torch.full((1, 1, 8, 8), wrong))
    model = pixelcnn.build(SMALL.replace(channels=3))
    with pytest.raises(Error, match=r"pictures must have shape \(batch, 3, 8, 8\), got \(2, 1, 8, 8\)"):
        pixelcnn.log_prob(model, BLACK)


@pytest.mark.parametrize(("classes", "labels", "message"), [
    (0, [0, 1], "this network has no classes: call it without labels"),
    (3, None, "this network wants labels: whole numbers from 0 to 2, one a picture"),
    (3, [0], r"labels must be whole numbers of shape \(2,\), got torch.int64 \(1,\)"),
    (3, [0.0, 1.0], r"labels must be whole numbers of shape \(2,\), got torch.float32 \(2,\)"),
    (3, torch.eye(2), r"labels must be whole numbers of shape \(2,\), got torch.float32 \(2, 2\)"),
    (3, [0, 3], "labels must lie in 0 to 2, got 0 to 3"), (3, [-1, 2], "labels must lie in 0 to 2, got -1 to 2"),
])  # fmt: skip
def test_wrong_labels_are_refused(classes, labels, message):
    model = pixelcnn.build(SMALL.replace(classes=classes))
    with pytest.raises(Error, match=message):
        pixelcnn.log_prob(model, BLACK, labels)
    if (labels is None) == bool(classes):  # a label too many or too few is noticed by the network itself
        with pytest.raises(Error, match=message):
            model(BLACK, labels)


def test_other_things_are_refused(tmp_path):
    images, tiny, small = blobs(32), pixelcnn.build(TINY), pixelcnn.build(SMALL)
    for ask, what in [
        (lambda: pixelcnn.train(SMALL.replace(channels=3), images=images), "train takes channels=1"),
        (lambda: pixelcnn.train(SMALL), r"expected pictures of shape \(n, 8, 8\), got \(\d+, 28, 28\)"),
        (lambda: pixelcnn.train(SMALL, images=images.float()), "expected a tensor of uint8 pictures"),
        (lambda: pixelcnn.train(SMALL.replace(classes=2), images=images), "this network wants labels"),
        (lambda: pixelcnn.train(SMALL.replace(classes=2), images=images, labels=[0, 1]), r"labels .* shape \(32,\)"),
        (lambda: pixelcnn.train(TINY.replace(classes=5)), "labels must lie in 0 to 4, got 0 to 9"),
        (lambda: pixelcnn.evaluate(tiny, "mnist-mini", n=1), "n must lie between 2 and the 2000 test pictures"),
        (lambda: pixelcnn.evaluate(tiny, "mnist-mini", n=2001), "n must lie between 2 and the 2000 test pictures"),
        (lambda: pixelcnn.evaluate(small, "mnist-mini", n=2), r"pictures must have shape \(batch, 1, 8, 8\)"),
        (lambda: pixelcnn.reproduce("pixelcnn-pag", tmp_path), "unknown published network .*mean 'pixelcnn-page'"),
    ]:
        with pytest.raises(Error, match=what):
            ask()
    assert not list(tmp_path.iterdir())
