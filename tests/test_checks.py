"""checks.py: what is accepted comes back as a tensor, what is not is one clear error that says what was given."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, checks


def test_lists_and_arrays_become_tensors_and_float_tensors_stay_what_they_are():
    assert checks.numbers_of([1, 2]).dtype == torch.float64
    assert checks.numbers_of(np.float32([1, 2])).dtype == torch.float32
    assert checks.numbers_of(torch.tensor([1, 2])).dtype == torch.float64
    x = torch.rand(3, requires_grad=True)
    assert checks.numbers_of(x) is x
    assert checks.probabilities(x / x.sum()).requires_grad


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.5, 0.6], r"p must sum to 1 along the last axis \(tolerance 1e-09\), it sums to 1.1"),
        ([[0.5, 0.5], [0.5, 0.4]], r"it sums to 0.9 at \[1\]"),
        (torch.tensor([0.5, 0.4999]), r"\(tolerance 1e-05\), it sums to 0.9998999834"),
        ([1.5, -0.5], r"p must not be negative, got -0.5 at \[1\]"),
        ([0.5, float("nan")], r"p holds NaN at \[1\]"),
        ([math.inf, 0.0], "it sums to inf"),
        ([], "at least one outcome along the last axis, got the shape \\(0,\\)"),
        (0.5, "at least one outcome"),
        ("half", "p must be numbers, got str: 'half'"),
        ([[0.5], [0.5, 0.5]], "p must be numbers, got list"),
        ([True, False], "p must be"),
        (torch.tensor([1 + 1j]), "real numbers"),
    ],
)
def test_what_is_no_distribution_is_refused(p, message):
    if p == [True, False]:
        p = torch.tensor(p)
    with pytest.raises(Error, match=message):
        checks.probabilities(p)


def test_a_joint_distribution_sums_over_both_axes():
    joint = torch.full((3, 2, 2), 0.25)
    assert checks.probabilities(joint, dim=(-2, -1)) is joint
    with pytest.raises(Error, match=r"along axes \[-2, -1\] .* it sums to 2"):
        checks.probabilities([[1.0, 0.0], [0.5, 0.5]], dim=(-2, -1))


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=1000))
def test_what_softmax_makes_is_accepted_in_both_precisions(values):
    x = torch.tensor(values, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        checks.probabilities((10 * x).to(dtype).softmax(-1))


def test_positive_finite_whole_and_shapes():
    assert checks.positive(2) == 2 and checks.whole(3) == 3 and checks.finite([-1.0])[0] == -1
    for bad, message in ((0, "positive, got 0"), (-1.0, "got -1"), (math.inf, "finite, got inf"), (math.nan, "NaN")):
        with pytest.raises(Error, match=message):
            checks.positive(bad, "sigma")
    for bad in (1.5, "3", True, None):
        with pytest.raises(Error, match="n must be a whole number"):
            checks.whole(bad)
    with pytest.raises(Error, match="steps must be at least 1, got 0"):
        checks.whole(0, "steps", 1)
    with pytest.raises(Error, match=r"p and q must have the same shape, got \(2,\) and \(3,\)"):
        checks.same_shape(torch.ones(2), torch.ones(3))


def test_bases():
    assert checks.log_base(math.e) == 1 and checks.log_base(2) == math.log(2) and checks.log_base(0.5) < 0
    for bad in (0, 1, -2, math.inf, math.nan, "2", True, None):
        with pytest.raises(Error, match="base must be a positive number other than 1 .*, got"):
            checks.log_base(bad)


def test_a_seed_or_a_generator():
    own = torch.Generator().manual_seed(7)
    assert checks.generator(own) is own
    assert torch.equal(torch.rand(3, generator=checks.generator(7)), torch.rand(3, generator=own))
    for bad in (None, 1.5, "x", -1):
        with pytest.raises(Error):
            checks.generator(bad)
