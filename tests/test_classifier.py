"""The classifier of digits: it learns, its features know digits, and what is published is as good as the book says."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, checkpoints, classifier, data, metrics, runs, training

SMALL = classifier.Config(width=2, data="mnist-mini", steps=6, batch_size=32, log_every=2)


@pytest.fixture(scope="module")
def mini():
    """Test pictures float32 (2000, 1, 28, 28) and labels (2000,) of mnist-mini."""
    dataset = data.load("mnist-mini")
    return data.to_unit(dataset.test_images), dataset.test_labels


@pytest.fixture(scope="module")
def published():
    """The published classifier."""
    return checkpoints.load("classifier", "cpu")


# ---------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("width", [1, 3, 32])
def test_shapes_and_the_way_from_features_to_logits(width):
    model = classifier.build(classifier.Config(width=width))
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    features = model.features(x)
    assert features.shape == (3, classifier.FEATURES) and model(x).shape == (3, 10)
    assert torch.equal(model.head(features), model(x))
    assert features.min() >= -0.279  # they come out of a SiLU, whose least value is -0.2785


def test_each_picture_is_judged_by_itself():
    model = classifier.build(SMALL)
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([model(one[None]) for one in x])
    assert torch.allclose(model(x), alone, atol=1e-6)


def test_the_same_seed_gives_the_same_weights():
    a, b, other = (classifier.build(SMALL.replace(seed=seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[key], b[key]) for key in a) and not torch.equal(a["head.weight"], other["head.weight"])


def test_the_presets_and_what_they_refuse():
    for scale in ("test", "cpu", "gpu"):
        assert classifier.Config.preset(scale).data == ("mnist" if scale == "gpu" else "mnist-mini")
    with pytest.raises(Error, match="unknown scale 'published'"):
        classifier.Config.preset("published")
    for wrong in ({"width": 0}, {"shift": -1}, {"shift": 5}):
        with pytest.raises(Error, match="need width >= 1 and shift in 0 to 4"):
            classifier.Config(**wrong)


# --------------------------------------------------------------------------------------------------- pictures that move


moves = st.integers(-classifier.MOST, classifier.MOST)


@given(st.lists(st.tuples(moves, moves), min_size=1, max_size=4), st.integers(6, 12), st.integers(6, 12))
def test_a_moved_picture_is_the_picture_elsewhere(by, height, width):
    x = torch.rand(len(by), 1, height, width, generator=torch.Generator().manual_seed(0)) + 0.1
    down, right = torch.tensor(by).unbind(1)
    found = classifier.shifted(x, down, right)
    assert found.shape == x.shape
    for picture, moved, (d, r) in zip(x[:, 0], found[:, 0], by, strict=True):
        for row in range(height):
            for column in range(width):
                there = 0 <= row - d < height and 0 <= column - r < width
                assert moved[row, column] == (picture[row - d, column - r] if there else 0)


def moves_seen(config, x, training_mode):
    """The pictures that reach the network when its losses are asked for."""
    model, seen = classifier.build(config).train(training_mode), []
    model.body.register_forward_pre_hook(lambda _, given: seen.append(data.from_signed(given[0])))
    noise = training.Noise(0, len(x))
    classifier.losses(model, x, torch.zeros(len(x), dtype=torch.long), noise)
    return seen[0]


def test_pictures_move_in_training_only_and_as_far_as_was_said():
    x = torch.zeros(2000, 1, 28, 28)
    x[:, :, 14, 14] = 1
    assert torch.equal(moves_seen(SMALL, x, False), x)
    assert torch.equal(moves_seen(SMALL.replace(shift=0), x, True), x)
    for shift in (1, 2, 4):
        place = moves_seen(SMALL.replace(shift=shift), x, True).flatten(1).argmax(1)
        down, right = place // 28 - 14, place % 28 - 14
        for way in (down, right):  # every distance, about equally often
            counts = (way + shift).bincount(minlength=2 * shift + 1) / len(x)
            assert len(counts) == 2 * shift + 1 and (counts * len(counts) - 1).abs().max() < 0.3
        both = torch.stack([down, right]).float()
        assert abs(torch.corrcoef(both)[0, 1]) < 0.08  # the two are independent


# ------------------------------------------------------------------------------------------------------------- learning


def test_the_losses_are_cross_entropy_and_errors(mini):
    x, labels = mini[0][:50], mini[1][:50]
    model = classifier.build(SMALL).eval()
    found = classifier.losses(model, x, labels, training.Noise(0, 50))
    log_p = model(x).log_softmax(1)
    assert torch.allclose(found["loss"], -log_p[torch.arange(50), labels])
    assert torch.equal(found["error"], (log_p.argmax(1) != labels).float())
    assert found["loss"].mean().item() == pytest.approx(math.log(10), abs=0.2)  # it knows nothing yet


def test_it_learns(mini):
    run = classifier.train(classifier.Config.preset("test"), device="cpu")
    assert run.complete and {"loss", "error"} <= run.history[-1].keys()
    found = classifier.evaluate(run.model, "mnist-mini")
    assert found["error"] < 0.12 and found["nats"] < 0.4  # guessing: 0.9 and log 10 = 2.3
    assert found["n"] == 2000 and found["pictures"] == "the first 2000 test pictures of mnist-mini, grey"


def test_labels_are_what_it_learns_from():
    images = data.load("mnist-mini").train_images[:64]
    with pytest.raises(Error, match="a classifier learns from labels: give one for each picture"):
        classifier.train(SMALL, images=images)
    labels = data.load("mnist-mini").train_labels[:64]
    run = classifier.train(SMALL.replace(shift=0, steps=300, learning_rate=1e-2), images=images,
                           labels=(labels + 1) % 10, device="cpu")
    model = run.model.eval()
    assert (model(data.to_unit(images)).argmax(1) == (labels + 1) % 10).float().mean() > 0.95  # also wrong ones


def test_evaluate_by_hand(published, mini):
    x, labels = mini[0][:40], mini[1][:40]
    found = classifier.evaluate(published, "mnist-mini", n=40)
    with torch.no_grad():
        logits = published(x).double()
    nats = F.cross_entropy(logits, labels, reduction="none")
    assert found["error"] == pytest.approx((logits.argmax(1) != labels).float().mean().item())
    assert found["nats"] == pytest.approx(nats.mean().item(), rel=1e-4)
    assert found["standard_error"] == pytest.approx(nats.std().item() / 40**0.5, rel=1e-4)
    train = classifier.evaluate(published, "mnist-mini", n=40, split="train")
    assert train["pictures"] == "the first 40 train pictures of mnist-mini, grey" and train["nats"] != found["nats"]
    for n in (1, 2001):
        with pytest.raises(Error, match=f"n must lie between 2 and the 2000 test pictures of mnist-mini, got {n}"):
            classifier.evaluate(published, "mnist-mini", n=n)


def test_reproduce_makes_weights_card_and_the_features_of_real_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "PUBLISHED", {"classifier": SMALL})
    card = classifier.reproduce("classifier", tmp_path / "run", device="cpu")
    weights = tmp_path / "run/classifier.safetensors"
    assert card == checkpoints.card(weights) and card["family"] == "classifier" and card["steps"] == 6
    assert card["sha256"] == runs.sha256(weights.read_bytes())
    assert card["metrics"].keys() == {"test", "mini"} and card["metrics"]["test"]["n"] == 2000
    model = checkpoints.load(weights, "cpu")
    again, stated = classifier.evaluate(model, "mnist-mini"), card["metrics"]["test"]
    assert again.keys() == stated.keys() and again["error"] == stated["error"]
    assert again["nats"] == pytest.approx(stated["nats"], rel=1e-5)
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path / "run")  # as if it were published
    ref = metrics.reference()
    assert (ref.n, ref.data) == (10_000, "mnist-mini")
    found = metrics.features(data.to_unit(data.load("mnist-mini").test_images[:200]))
    assert torch.allclose(ref.test[:200], found, atol=1e-2)
    with pytest.raises(Error, match="unknown published network 'clasifier'.*Did you mean 'classifier'"):
        classifier.reproduce("clasifier", tmp_path / "run")


# ---------------------------------------------------------------------------------------------------- what is published


def test_the_published_one_knows_digits():
    card = checkpoints.card("classifier")
    assert card["metrics"]["test"]["error"] < 0.01 and card["metrics"]["test"]["n"] == 10_000
    assert card["data"] == "mnist"


def test_it_bears_a_move_and_noise(published, mini):
    x, labels = mini[0][:500], mini[1][:500]

    def error(pictures):
        with torch.no_grad():
            return (published(pictures).argmax(1) != labels).double().mean().item()

    g = torch.Generator().manual_seed(0)
    down, right = torch.randint(-2, 3, (2, 500), generator=g)
    assert error(x) < 0.015 and error(classifier.shifted(x, down, right)) < 0.03
    assert error((x + 0.1 * torch.randn(x.shape, generator=g)).clamp(0, 1)) < 0.05
    assert error(x.flip(3)) > 0.2  # in a mirror most digits are none


def test_in_its_features_digits_of_one_kind_lie_together(mini):
    x, labels = mini[0][:1000], mini[1][:1000]

    def wrong_neighbours(points):
        """How often the nearest other picture shows another digit."""
        apart = torch.cdist(points, points).fill_diagonal_(math.inf)
        return (labels[apart.argmin(1)] != labels).double().mean().item()

    seen = metrics.features(x)
    assert wrong_neighbours(seen) < 0.02 < 0.06 < wrong_neighbours(x.flatten(1).double())
    same = labels[:, None] == labels
    apart = torch.cdist(seen, seen)
    assert apart[same].mean() < apart[~same].mean() / 2
