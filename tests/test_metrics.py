"""Numbers mean what the book says: nats, bits per dimension, floors, errors of means, distances of sets of pictures."""

import functools
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, checkpoints, classifier, data, metrics, runs

MNIST = Path(os.environ.get("GENTUT_DATA_DIR", "nowhere")) / "mnist"
dims = st.integers(1, 10**6)


@given(st.floats(-1e6, 1e6), dims)
def test_nats_and_bits_per_dim_round_trip(nats, n):
    assert metrics.bits_per_dim_to_nats(metrics.nats_to_bits_per_dim(nats, n), n) == pytest.approx(nats, rel=1e-12)


@given(st.integers(1, 24), dims)
def test_a_uniform_code_costs_its_bits(bits, n):
    assert metrics.nats_to_bits_per_dim(n * math.log(2**bits), n) == pytest.approx(bits)


def test_conversions_refuse_no_dimensions():
    for convert in (metrics.nats_to_bits_per_dim, metrics.bits_per_dim_to_nats):
        with pytest.raises(Error, match="dims must be at least 1, got 0"):
            convert(1.0, 0)
    assert metrics.nats_to_bits_per_dim(784 * math.log(2)) == pytest.approx(1)  # by default, a 28 × 28 picture


@given(st.floats(0, 1))
def test_bernoulli_entropy(p):
    h = metrics.bernoulli_entropy(torch.tensor(p, dtype=torch.float64)).item()
    assert 0 <= h <= math.log(2) + 1e-12
    if 1e-300 < p < 1 - 1e-12:
        assert h == pytest.approx(-p * math.log(p) - (1 - p) * math.log1p(-p), abs=1e-12)
    if p in (0, 1):
        assert h == 0


def test_the_grey_floor_is_the_least_cross_entropy():
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0] = torch.where(images[0] > 127, 255, 0)
    floor, x = metrics.grey_floor(images), data.to_unit(images).double()
    assert floor.shape == (5,) and floor[0] == 0 and (floor[1:] > 0).all()

    def cost(y):
        return F.binary_cross_entropy(y, x, reduction="none").flatten(1).sum(1)

    assert torch.allclose(cost(x), floor, atol=1e-6)
    for nudge in (-0.02, 0.02):
        assert (cost((x + nudge).clamp(0, 1)) > floor).all()


def test_the_grey_floor_of_mnist_mini():
    assert metrics.grey_floor(data.load("mnist-mini").test_images).mean().item() == pytest.approx(45.4778, abs=1e-3)


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the MNIST files: set GENTUT_DATA_DIR")
def test_the_grey_floor_of_mnist():
    assert metrics.grey_floor(data.load("mnist").test_images).mean().item() == pytest.approx(45.5, abs=0.05)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=30))
def test_mean_and_error(values):
    mean, error = metrics.mean_and_error(torch.tensor(values))
    n = len(values)
    by_hand = sum(values) / n
    spread = sum((v - by_hand) ** 2 for v in values) / (n - 1)
    assert mean == pytest.approx(by_hand, abs=1e-6) and error == pytest.approx(math.sqrt(spread / n), abs=1e-6)


def test_the_error_covers_the_truth_as_often_as_it_should():
    draws = torch.randn(2000, 50, generator=torch.Generator().manual_seed(0)) * 3 + 1
    inside = [abs(mean - 1) < 2 * error for mean, error in map(metrics.mean_and_error, draws)]
    assert 0.93 < sum(inside) / len(inside) < 0.97  # Student's t with 49 degrees of freedom: 0.949


@pytest.mark.parametrize("values", [torch.zeros(1), torch.zeros(0), torch.zeros(3, 1), torch.tensor(1.0)])
def test_mean_and_error_of_too_few(values):
    with pytest.raises(Error, match="at least two values in one dimension"):
        metrics.mean_and_error(values)


# ------------------------------------------------------------------------------------------ the Fréchet distance itself

seeds, sizes = st.integers(0, 10**6), st.integers(1, 7)


def gaussian(seed, d, rank=None):
    """A random mean (d,) and covariance (d, d) of the rank."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(d, d if rank is None else rank, generator=g, dtype=torch.float64)
    return torch.randn(d, generator=g, dtype=torch.float64), a @ a.T


def rotation(seed, d):
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]


@given(seeds, seeds, sizes)
def test_the_distance_of_gaussians_is_that_of_the_paper(a, b, d):
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(a, d), gaussian(b, d)
    root = scipy.linalg.sqrtm(cov_a.numpy() @ cov_b.numpy()).real  # as equation 6 is written
    by_hand = ((mean_a - mean_b) ** 2).sum() + (cov_a + cov_b).trace() - 2 * root.trace()
    assert metrics.frechet(mean_a, cov_a, mean_b, cov_b) == pytest.approx(by_hand.item(), rel=1e-6, abs=1e-6)


@given(st.floats(-50, 50), st.floats(0, 20), st.floats(-50, 50), st.floats(0, 20))
def test_in_one_dimension_it_is_the_difference_of_means_and_of_deviations(mean_a, sd_a, mean_b, sd_b):
    found = metrics.frechet([mean_a], [[sd_a**2]], [mean_b], [[sd_b**2]])
    assert found == pytest.approx((mean_a - mean_b) ** 2 + (sd_a - sd_b) ** 2, rel=1e-9, abs=1e-9)


@given(seeds, sizes)
def test_commuting_covariances_compare_axis_by_axis(seed, d):
    g = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, d, generator=g, dtype=torch.float64) * 3
    turn, zero = rotation(seed, d), torch.zeros(d)
    found = metrics.frechet(zero, turn * a @ turn.T, zero, turn * b @ turn.T)
    assert found == pytest.approx(((a.sqrt() - b.sqrt()) ** 2).sum().item(), abs=1e-9)


@given(seeds, seeds, st.integers(2, 7), st.floats(0.01, 100))
def test_what_a_distance_must_do(a, b, d, scale):
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(a, d), gaussian(b, d)
    found = metrics.frechet(mean_a, cov_a, mean_b, cov_b)
    close = functools.partial(pytest.approx, rel=1e-7, abs=1e-7)
    assert metrics.frechet(mean_a, cov_a, mean_a, cov_a) == pytest.approx(0, abs=1e-9) and found >= 0
    assert metrics.frechet(mean_b, cov_b, mean_a, cov_a) == close(found)
    turn = rotation(a + b, d)
    there = [(turn @ mean, turn @ cov @ turn.T) for mean, cov in ((mean_a, cov_a), (mean_b, cov_b))]
    assert metrics.frechet(*there[0], *there[1]) == close(found)
    assert metrics.frechet(mean_a + 3, cov_a, mean_b + 3, cov_b) == close(found)
    in_other_units = metrics.frechet(scale * mean_a, scale**2 * cov_a, scale * mean_b, scale**2 * cov_b)
    assert in_other_units == pytest.approx(scale**2 * found, rel=1e-6, abs=1e-7 * scale**2)
    third = gaussian(a + b + 1, d)  # its root is a metric: no detour is shorter
    detour = metrics.frechet(mean_a, cov_a, *third) ** 0.5 + metrics.frechet(*third, mean_b, cov_b) ** 0.5
    assert found**0.5 <= detour + 1e-6


@given(seeds, sizes, st.floats(0, 30))
def test_a_shift_adds_its_square(seed, d, shift):
    mean, cov = gaussian(seed, d)
    g = torch.Generator().manual_seed(seed + 1)
    way = F.normalize(torch.randn(d, generator=g, dtype=torch.float64), dim=0)
    assert metrics.frechet(mean, cov, mean + shift * way, cov) == pytest.approx(shift**2, rel=1e-7, abs=1e-7)


@given(seeds, st.integers(2, 7))
def test_singular_covariances_are_no_trouble(seed, d):
    mean, flat = gaussian(seed, d, rank=d - 1)
    zero = torch.zeros(d, d)
    assert metrics.frechet(mean, flat, mean, flat) == pytest.approx(0, abs=1e-6)
    # from a single point it is the mean square distance
    assert metrics.frechet(mean, flat, mean + 1, zero) == pytest.approx(d + flat.trace().item(), rel=1e-9)
    assert metrics.frechet(mean, zero, mean, zero) == 0


def test_the_distance_of_samples_comes_to_that_of_their_gaussians():
    g = torch.Generator().manual_seed(0)
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(1, 4), gaussian(2, 4)
    noise = torch.randn(2, 200_000, 4, generator=g, dtype=torch.float64)
    a = mean_a + noise[0] @ torch.linalg.cholesky(cov_a).T
    b = mean_b + noise[1] @ torch.linalg.cholesky(cov_b).T
    truth = metrics.frechet(mean_a, cov_a, mean_b, cov_b)
    assert metrics.frechet_distance(a, b) == pytest.approx(truth, rel=0.02)
    assert metrics.frechet_distance(a, a[torch.randperm(len(a), generator=g)]) == pytest.approx(0, abs=1e-9)
    far = [abs(metrics.frechet_distance(a[:n], b[:n]) - truth) for n in (20, 200, 2000, 20_000)]
    assert far[0] > far[2] and far[1] > far[3] and far[3] < 0.05 * truth


def test_few_samples_look_further_apart_than_they_are():
    g = torch.Generator().manual_seed(0)
    both = torch.randn(40, 2, 2000, 8, generator=g, dtype=torch.float64)  # 40 pairs of sets from one Gaussian

    def apart(n):
        return np.mean([metrics.frechet_distance(a[:n], b[:n]) for a, b in both])

    found = {n: apart(n) for n in (20, 50, 200, 2000)}
    assert found[20] > 2 * found[50] > 4 * found[200] > 16 * found[2000] > 0
    assert found[200] / found[2000] == pytest.approx(10, rel=0.15)  # the bias falls like 1 / n


@given(seeds, sizes, st.integers(2, 40))
def test_moments(seed, d, more):
    x = torch.randn(d + more, d, generator=torch.Generator().manual_seed(seed)) * 3 + 1
    mean, covariance = metrics.moments(x)
    assert mean.dtype == covariance.dtype == torch.float64
    assert np.allclose(mean, x.double().numpy().mean(0))
    assert np.allclose(covariance, np.cov(x.double().numpy(), rowvar=False).reshape(d, d))


@pytest.mark.parametrize(
    ("a", "b", "what"),
    [
        (torch.zeros(64, 64), torch.zeros(100, 64), "covariance of 64 features needs at least 65 pictures, got 64"),
        (torch.zeros(100, 64), torch.zeros(1, 64), "needs at least 65 pictures, got 1"),
        (torch.zeros(0, 3), torch.zeros(9, 3), "needs at least 4 pictures, got 0"),
        (torch.zeros(9, 3), torch.zeros(9, 2), "both Gaussians must have one dimension, got 3 and 2"),
        (torch.zeros(9), torch.zeros(9, 3), r"must be a tensor of shape \(n, d\), got \(9,\)"),
        ([1.0, 2.0], torch.zeros(9, 3), r"must be a tensor of shape \(n, d\), got list"),
        (torch.full((9, 3), math.nan), torch.zeros(9, 3), "features must be finite"),
    ],
)
def test_sets_without_a_distance(a, b, what):
    with pytest.raises(Error, match=what):
        metrics.frechet_distance(a, b)


@pytest.mark.parametrize(
    ("mean", "covariance", "what"),
    [
        ([0.0, 0.0], [[1.0]], r"a mean \(d,\) and a covariance \(d, d\), got \(2,\) and \(1, 1\)"),
        ([[0.0]], [[1.0]], r"got \(1, 1\) and \(1, 1\)"),
        ([], [], "a Gaussian has a mean"),
        ([0.0], [[-1.0]], "symmetric and has no negative eigenvalue"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "symmetric and has no negative eigenvalue"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "symmetric and has no negative eigenvalue"),
        ([math.inf], [[1.0]], "must be finite"),
        ([0.0], [[math.nan]], "must be finite"),
    ],
)
def test_what_is_no_gaussian(mean, covariance, what):
    good = torch.zeros(len(mean)), torch.eye(len(mean))
    for pair in ((mean, covariance, *good), (*good, mean, covariance)):
        with pytest.raises(Error, match=what):
            metrics.frechet(*pair)


# ---------------------------------------------------------------------------------- precision, recall, shares of labels


def naive_precision_recall(real, fake, k):
    """The paper's definition, point by point."""
    def within(points, centres):
        hits = 0
        for x in points:
            for c in centres:
                if (x - c).norm() <= sorted((c - other).norm() for other in centres)[k] + 1e-9:  # [0] is c itself
                    hits += 1
                    break
        return hits / len(points)

    return within(fake, real), within(real, fake)


@given(seeds, st.integers(4, 14), st.integers(4, 14), st.integers(1, 3), st.floats(0, 4))
def test_precision_and_recall_are_those_of_the_paper(seed, n, m, k, shift):
    g = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(n, 2, generator=g).double(), torch.randn(m, 2, generator=g).double() + shift
    found = metrics.precision_recall(real, fake, k)
    assert found == pytest.approx(naive_precision_recall(real, fake, k))
    assert metrics.precision_recall(fake, real, k) == pytest.approx(found[::-1])  # the roles change places
    turn = rotation(seed, 2)
    assert metrics.precision_recall(5 * real @ turn + 1, 5 * fake @ turn + 1, k) == pytest.approx(found)
    wider = metrics.precision_recall(real, fake, k + 1) if k + 1 < min(n, m) else found
    assert wider[0] >= found[0] and wider[1] >= found[1]


def test_precision_and_recall_tell_two_failures_apart():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(2500, 2, generator=g) + 10 * (torch.arange(2500) % 2)[:, None]  # two heaps; three parts of 1,000
    same = torch.randn(2500, 2, generator=g) + 10 * (torch.arange(2500) % 2)[:, None]
    assert metrics.precision_recall(real, real) == (1, 1)
    assert min(metrics.precision_recall(real, same)) > 0.95
    assert metrics.precision_recall(real, same + 1000) == (0, 0)
    precision, recall = metrics.precision_recall(real, same[::2])  # one heap is never drawn
    assert precision > 0.95 and recall == pytest.approx(0.5, abs=0.03)
    precision, recall = metrics.precision_recall(real[::2], same)  # half of what is drawn is like nothing real
    assert precision == pytest.approx(0.5, abs=0.03) and recall > 0.95
    precision, recall = metrics.precision_recall(real, same[:1].expand(100, 2) + 1e-3 * torch.randn(100, 2))
    assert precision > 0.99 and recall < 0.05  # mode collapse


@pytest.mark.parametrize(
    ("real", "fake", "k", "what"),
    [
        (torch.zeros(9, 2), torch.zeros(9, 3), 3, "as many features, got 2 and 3"),
        (torch.zeros(9, 2), torch.zeros(9), 3, r"shape \(n, d\), got \(9,\)"),
        (torch.zeros(9, 2), torch.zeros(3, 2), 3, "more than k points in a set, got 9 and 3"),
        (torch.zeros(9, 2), torch.zeros(9, 2), 0, "k = 0 neighbours need k >= 1"),
        (torch.full((9, 2), math.inf), torch.zeros(9, 2), 3, "must be finite"),
    ],
)
def test_sets_without_precision(real, fake, k, what):
    with pytest.raises(Error, match=what):
        metrics.precision_recall(real, fake, k)


shares = st.lists(st.floats(0.01, 1), min_size=10, max_size=10).map(lambda w: [v / sum(w) for v in w])


@given(shares, shares)
def test_the_distance_of_histograms(a, b):
    found = metrics.histogram_distance(a, b)
    assert 0 <= found <= 1 and metrics.histogram_distance(b, a) == found and metrics.histogram_distance(a, a) == 0
    # the greatest difference in the probability of any event
    assert found == pytest.approx(sum(max(x - y, 0) for x, y in zip(a, b, strict=True)), abs=1e-9)


@pytest.mark.parametrize("a", [[0.5, 0.6], [1.5, -0.5], [1.0], [math.nan, 1.0]])
def test_what_is_no_histogram(a):
    with pytest.raises(Error, match=r"must not be negative|one length, got shapes \(1,\) and \(2,\)"):
        metrics.histogram_distance(a, [0.5, 0.5])
    assert metrics.histogram_distance([1.0, 0.0], [0.0, 1.0]) == 1


# ------------------------------------------------------------------------------------------------- the stored reference


@functools.cache
def mini():
    """(pictures of mnist-mini's test digits, their features, their places among MNIST's test digits)."""
    x = data.to_unit(data.load("mnist-mini").test_images)
    return x, metrics.features(x), torch.from_numpy(np.load(data.MINI)["test_index"].astype(np.int64))


def test_features_are_the_published_classifiers_whatever_the_batch():
    x, found, _ = mini()
    model = checkpoints.load("classifier", "cpu")
    with torch.no_grad():
        assert torch.allclose(found[:300], model.features(x[:300]).double(), atol=1e-4)
    assert found.dtype == torch.float64 and found.shape == (2000, classifier.FEATURES)
    assert torch.allclose(metrics.features(x[:70], batch=7), found[:70], atol=1e-4)
    assert torch.allclose(metrics.features(x[:9].double()), found[:9], atol=1e-4)
    with torch.no_grad():
        by_hand = model(x).argmax(1).bincount(minlength=10) / 2000
    assert torch.allclose(metrics.label_histogram(x).float(), by_hand)
    with pytest.raises(Error, match="there are no pictures"):
        metrics.label_histogram(x[:0])


def test_the_stored_test_features_are_those_of_the_test_digits():
    _, found, index = mini()
    kept = metrics.reference().test
    assert kept.shape == (10_000, classifier.FEATURES)
    assert torch.allclose(kept[index], found, rtol=1e-3, atol=1e-3)  # float16


def test_the_stored_moments_are_those_of_the_training_digits():
    ref, dataset = metrics.reference(), data.load("mnist-mini")
    assert (ref.n, ref.data) == (60_000, "mnist") and ref.mean.dtype == ref.covariance.dtype == torch.float64
    found = metrics.features(data.to_unit(dataset.train_images[:4000]))  # in MNIST's order, which is random enough
    distance = metrics.frechet(*metrics.moments(found), ref.mean, ref.covariance)
    assert distance < metrics.floor(4000)[0]  # nearer than test digits are
    assert (found.mean(0) - ref.mean).abs().max() < 5 * (ref.covariance.diagonal() / 4000).sqrt().max()
    labels = dataset.train_labels.bincount(minlength=10) / len(dataset.train_labels)
    assert metrics.histogram_distance(ref.shares, labels) < 0.015


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the MNIST files: set GENTUT_DATA_DIR")
def test_the_stored_file_is_what_making_it_again_gives(tmp_path, monkeypatch):
    ref, digest = metrics.reference(), checkpoints.card("classifier")["sha256"]
    for file in ("classifier.safetensors", "classifier.json"):
        shutil.copy(checkpoints.FOLDER / file, tmp_path)
    metrics.store_reference(checkpoints.load("classifier", "cpu"), "mnist", digest, tmp_path / metrics.STORED)
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    again = metrics.reference()
    assert (again.n, again.data) == (ref.n, ref.data) and torch.allclose(again.shares, ref.shares, atol=1e-4)
    assert torch.allclose(again.mean, ref.mean, atol=1e-3) and torch.allclose(again.test, ref.test, atol=0.01)
    assert metrics.frechet(again.mean, again.covariance, ref.mean, ref.covariance) < 1e-4


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder of published files in which a test may do damage."""
    for file in ("classifier.safetensors", "classifier.json", metrics.STORED):
        shutil.copy(checkpoints.FOLDER / file, tmp_path)
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    return tmp_path


def test_the_reference_of_another_classifier_is_refused(shop):
    assert metrics.reference().n == 60_000
    other = classifier.build(classifier.Config(width=2))
    facts = {"family": "classifier", "config": other.config.to_dict()}
    checkpoints.save(other, facts, shop / "classifier.safetensors")
    assert metrics.features(torch.zeros(1, 1, 28, 28)).shape == (1, classifier.FEATURES)  # the new one is read
    for ask in (metrics.reference, lambda: metrics.floor(100), lambda: metrics.likeness(torch.zeros(100, 1, 28, 28))):
        with pytest.raises(Error, match="features of another classifier .* `gentut reproduce classifier --publish`"):
            ask()


@pytest.mark.parametrize("damage", ["bit", "torn", "gone", "weights"])
def test_a_damaged_reference_is_refused(shop, damage):
    raw = bytearray((shop / metrics.STORED).read_bytes())
    raw[len(raw) // 2] ^= 1
    content = {"bit": raw, "torn": raw[:1000], "weights": (shop / "classifier.safetensors").read_bytes()}
    (shop / metrics.STORED).unlink()
    if damage in content:
        (shop / metrics.STORED).write_bytes(content[damage])
    with pytest.raises(Error, match=r"mnist-features.safetensors( is damaged: |: No such file)"):
        metrics.reference()


def test_a_reference_is_made_from_any_classifier(shop):
    model = classifier.build(classifier.Config(width=2, data="mnist-mini"))
    facts = {"family": "classifier", "config": model.config.to_dict()}
    checkpoints.save(model, facts, shop / "classifier.safetensors")
    model = checkpoints.load(shop / "classifier.safetensors")
    digest = runs.sha256((shop / "classifier.safetensors").read_bytes())
    metrics.store_reference(model, "mnist-mini", digest, shop / metrics.STORED)
    ref, dataset = metrics.reference(), data.load("mnist-mini")
    with torch.no_grad():
        train = model.features(data.to_unit(dataset.train_images)).double()
        test = model.features(data.to_unit(dataset.test_images)).double()
        labels = model.head(train.float()).argmax(1)
    assert (ref.n, ref.data, len(ref.test)) == (10_000, "mnist-mini", 2000)
    assert torch.allclose(ref.mean, train.mean(0), atol=1e-5) and torch.allclose(ref.test, test, atol=1e-2)
    assert torch.allclose(ref.covariance, torch.cov(train.T), atol=1e-5)
    assert torch.allclose(ref.shares, labels.bincount(minlength=10).double() / 10_000)
    with pytest.raises(Error, match="at most the 2000 that there are"):
        metrics.floor(2001)


# --------------------------------------------------------------------------------------------------------- the protocol


def test_the_floor_rises_as_n_falls():
    at = {n: metrics.floor(n) for n in (100, 500, 1000, 2000, 5000, 10_000)}
    means = [mean for mean, _ in at.values()]
    assert means == sorted(means, reverse=True) and means[0] > 5 * means[2] > 10 * means[5] > 0
    assert at[10_000][1] == 0 and all(0.02 * mean < spread < 0.4 * mean for n, (mean, spread) in at.items() if n < 1e4)
    ref = metrics.reference()
    whole = metrics.frechet(*metrics.moments(ref.test), ref.mean, ref.covariance)
    assert at[10_000] == (pytest.approx(whole, rel=1e-6), 0)
    assert metrics.floor(1000) == at[1000] != metrics.floor(1000, seed=1)
    assert metrics.floor(1000, seed=1)[0] == pytest.approx(at[1000][0], rel=0.15)
    assert metrics.floor(1000, subsets=3) != at[1000]


def test_the_floor_is_not_that_of_the_first_digits():
    # the first half of the test set has other writers than the second: alone, each is far from the training digits
    ref = metrics.reference()
    halves = [metrics.frechet(*metrics.moments(half), ref.mean, ref.covariance) for half in ref.test.split(5000)]
    mean, spread = metrics.floor(5000)
    assert min(halves) > mean + 10 * spread


def test_the_likeness_of_real_digits():
    x, features, _ = mini()
    found, ref = metrics.likeness(x), metrics.reference()
    assert found["n"] == 2000 and "60000 training digits of mnist" in found["reference"]
    assert found["frechet"] == pytest.approx(metrics.frechet(*metrics.moments(features), ref.mean, ref.covariance))
    mean, spread = metrics.floor(2000)
    assert found["floor"] == mean and abs(found["frechet"] - mean) < 4 * spread  # one more random subset
    assert found["ratio"] == found["frechet"] / found["floor"]
    assert found["precision"] > 0.85 and found["recall"] > 0.85
    labels = data.load("mnist-mini").test_labels.bincount(minlength=10) / 2000
    assert metrics.histogram_distance(found["shares"], labels) < 0.01 and found["histogram_distance"] < 0.05
    assert found["shares"] == metrics.label_histogram(x).tolist()
    assert found["histogram_distance"] == metrics.histogram_distance(found["shares"], ref.shares)
    assert all(isinstance(v, (float, int, list, str)) for v in found.values())  # a card can hold it


def test_the_likeness_falls_where_it_should():
    x, _, _ = mini()
    labels, g = data.load("mnist-mini").test_labels, torch.Generator().manual_seed(0)
    real = metrics.likeness(x[:1000])
    noise = metrics.likeness(torch.rand(1000, 1, 28, 28, generator=g))
    assert noise["ratio"] > 100 and noise["precision"] == noise["recall"] == 0
    blurred = [metrics.likeness(F.avg_pool2d(x[:1000], size, 1, size // 2)) for size in (3, 5)]
    assert 2 * real["frechet"] < blurred[0]["frechet"] < blurred[1]["frechet"]
    dropped = metrics.likeness(x[labels != 3][:1000])  # no threes: what is there is good, and something is missing
    assert dropped["shares"][3] < 0.002 and dropped["histogram_distance"] > 0.09 > real["histogram_distance"]
    assert dropped["precision"] > real["precision"] - 0.03 and dropped["ratio"] > 2 * real["ratio"]
    half = metrics.likeness(x[labels < 5][:1000])
    assert half["recall"] < real["recall"] - 0.2 and half["histogram_distance"] > 0.45
    assert half["precision"] > real["precision"] - 0.03 and half["ratio"] > 2 * dropped["ratio"]
    one = x[labels == 1][:1]  # nothing but one 1, a little lighter or darker
    collapsed = metrics.likeness(one * torch.linspace(0.9, 1, 1000).view(-1, 1, 1, 1))
    assert collapsed["shares"][1] == 1 and collapsed["recall"] < 0.01 and collapsed["precision"] > 0.9
    assert collapsed["ratio"] > 50


def test_the_likeness_is_a_function_of_pictures_and_seed():
    x, _, _ = mini()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = metrics.likeness(x[:100])
    assert torch.equal(torch.get_rng_state(), before) and metrics.likeness(x[:100]) == one
    other = metrics.likeness(x[:100], seed=1)
    drawn = ("floor", "ratio", "precision", "recall")  # what depends on random test digits
    assert all((other[key] == one[key]) == (key not in drawn) for key in one), (one, other)
    shuffled = metrics.likeness(x[:100].flip(0))
    assert shuffled["frechet"] == pytest.approx(one["frechet"], rel=1e-4) and shuffled["shares"] == one["shares"]


@pytest.mark.parametrize(
    ("pictures", "what"),
    [
        (torch.zeros(64, 1, 28, 28), "comparing 64 features needs at least 65 pictures, .*; got 64"),
        (torch.zeros(1, 1, 28, 28).expand(10_001, 1, 28, 28), "at most the 10000 that there are .* got 10001"),
        (torch.full((100, 1, 28, 28), -1.0), r"must lie in \[0, 1\], got values from -1"),
        (torch.full((100, 1, 28, 28), math.nan), r"must lie in \[0, 1\]"),
        (torch.zeros(100, 28, 28), r"must have shape \(batch, 1, 28, 28\)"),
        (torch.zeros(100, 1, 28, 28, dtype=torch.uint8), "float tensor .*data.to_unit converts"),
        (torch.zeros(100, 1, 32, 32), r"must have shape \(batch, 1, 28, 28\), got \(100, 1, 32, 32\)"),
    ],
)
def test_pictures_that_cannot_be_compared(pictures, what):
    with pytest.raises(Error, match=what):
        metrics.likeness(pictures)


@pytest.mark.parametrize("n", [0, 64, 10_001])
def test_a_floor_of_too_few_or_too_many(n):
    with pytest.raises(Error, match=f"at least 65 pictures, and at most the 10000 that there are test digits; got {n}"):
        metrics.floor(n)


def test_metrics_bring_no_chapter_with_them():
    script = "import sys, gentut.metrics; print(sorted(m for m in sys.modules if m.startswith('gentut.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["gentut.checkpoints", "gentut.data", "gentut.metrics", "gentut.runs"])
