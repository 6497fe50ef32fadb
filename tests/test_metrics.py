"""Numbers mean what the book says they mean: nats, bits per dimension, floors, errors of means."""

import math
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, data, metrics

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
