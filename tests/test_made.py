"""Belief net and MADE: all outcomes are listed, so every law is checked to the last one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gentut
from gentut import Error, made

widths = st.lists(st.integers(1, 12), max_size=3)
orders = st.integers(1, 10).flatmap(lambda n: st.permutations(range(n)))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def wild(model, seed=0, size=1.0):
    """The model in float64, with normal weights and biases of a standard deviation."""
    g = generator(seed)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return model


def both(n, order=None):
    return [wild(made.FVBN(n)), wild(made.MADE(n, (12, 9), order))]


def places(model):
    """Bit → its place in the model's order, from 0."""
    return torch.tensor([model.order.index(i) for i in range(model.n)])


# ------------------------------------------------------------------------------------------------- bits and pictures


@pytest.mark.parametrize("n", [1, 2, 3, 9, 12])
def test_bits_count_from_zero(n):
    x = made.bits(n)
    assert x.shape == (2**n, n) and x.dtype == torch.float32
    assert ["".join(str(int(b)) for b in row) for row in x[:40]] == [f"{k:0{n}b}" for k in range(min(40, 2**n))]
    values = (x.double() * 2.0 ** torch.arange(n - 1, -1, -1)).sum(1)
    assert torch.equal(values, torch.arange(2**n).double())


@pytest.mark.parametrize(("k", "count"), [(1, 2), (2, 6), (3, 14), (4, 30)])
def test_bars_and_stripes_are_all_pictures_of_full_rows_or_columns(k, count):
    x = made.bars_and_stripes(k)
    assert x.shape == (count, k * k)
    every = made.bits(k * k)
    square = every.view(-1, k, k)
    rows = (square == square[:, :, :1]).flatten(1).all(1)
    columns = (square == square[:, :1]).flatten(1).all(1)
    assert torch.equal(x, every[rows | columns])  # and in counting order


# ------------------------------------------------------------------------------------------------------------- masks


def moved(model, start):
    """Row j: which logits move when bit j of `start` is flipped, by more than the rounding of another batch."""
    flipped = (start - torch.eye(model.n)).abs()
    return (model(flipped) - model(start[None])).abs() > 1e-9


@given(orders, widths, st.integers(0, 9))
def test_no_logit_depends_on_its_own_bit_or_a_later_one(order, hidden, seed):
    n = len(order)
    for model in (wild(made.MADE(n, hidden, order), seed), wild(made.FVBN(n), seed)):
        place = places(model)
        later = place[None, :] >= place[:, None]  # (logit i, bit j)
        x = torch.rand(n, generator=generator(seed), dtype=torch.float64)
        slope = torch.autograd.functional.jacobian(lambda v, model=model: model(v[None])[0], x)
        assert (slope[later] == 0).all()
        start = (torch.rand(n, generator=generator(seed + 1)) < 0.5).double()
        assert not moved(model, start).T[later].any()


@given(orders, st.lists(st.integers(9, 14), max_size=3))
def test_every_logit_depends_on_every_earlier_bit(order, hidden):
    n = len(order)  # a layer of n - 1 units or more has one of each degree
    for model in (made.MADE(n, hidden, order).double(), made.FVBN(n).double()):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.3)  # all paths add up, and no unit is off
        place = places(model)
        earlier = place[None, :] < place[:, None]
        assert torch.equal(moved(model, torch.zeros(n)).T, earlier)


@given(orders, widths)
def test_masks_are_what_the_degrees_say(order, hidden):
    n = len(order)
    model = made.MADE(n, hidden, order)
    assert [model.degrees[0][i].item() for i in order] == list(range(1, n + 1))
    assert torch.equal(model.degrees[0], model.degrees[-1])
    assert [len(d) for d in model.degrees] == [n, *hidden, n]
    for between in model.degrees[1:-1]:
        assert between.min() == 1 and between.max() <= max(1, n - 1)
        counts = between.bincount(minlength=n)[1 : max(2, n)]
        assert counts.max() - counts.min() <= 1  # spread evenly
    last = len(model.masks) - 1
    for layer, mask in enumerate(model.masks):
        before, after = model.degrees[layer : layer + 2]
        for unit, m in enumerate(after.tolist()):
            for seen, d in enumerate(before.tolist()):
                assert mask[unit, seen] == (d < m if layer == last else d <= m)


def test_masks_of_lists_and_of_the_papers_kind_of_degrees():
    hidden, out = made.masks_of([[2, 1, 3], [1, 2, 2, 1], [2, 1, 3]])
    assert hidden.tolist() == [[0, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert out.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]]


def test_masked_weights_get_no_gradient_and_do_not_count():
    model = wild(made.MADE(5, (7, 6)))
    before = made.probabilities(model)
    made.log_prob(model, made.bits(5)).sum().backward()
    for layer, mask in zip(model.layers, model.masks, strict=True):
        assert (layer.weight.grad[mask == 0] == 0).all() and layer.weight.grad.abs().sum() > 0
        with torch.no_grad():
            layer.weight[mask == 0] = 1e6
    assert torch.equal(made.probabilities(model), before)


# -------------------------------------------------------------------------------------------------------- likelihood


@given(orders, widths, st.integers(0, 99), st.floats(0, 30))
def test_all_probabilities_sum_to_one(order, hidden, seed, size):
    n = len(order)
    for model in (made.FVBN(n), made.MADE(n, hidden, order)):
        p = made.probabilities(wild(model, seed, size))
        assert p.shape == (2**n,) and p.dtype == torch.float64 and (p >= 0).all()
        assert abs(p.sum().item() - 1) < 1e-12


def test_they_do_not_if_one_mask_is_forgotten():
    model = wild(made.MADE(4, (8,)))
    model.layers[0].mask.fill_(1)
    assert abs(made.probabilities(model).sum().item() - 1) > 0.1


@given(orders, st.integers(0, 99))
def test_a_logit_is_the_log_odds_of_its_bit_given_the_bits_before(order, seed):
    n = len(order)
    model = wild(made.MADE(n, (10,), order), seed)
    table = made.probabilities(model).view((2,) * n)
    logits = model(made.bits(n))  # (2^n, n)
    for t, i in enumerate(order):
        others = tuple(order[t + 1 :])
        marginal = table.sum(others, keepdim=True) if others else table  # of the bits up to place t
        black, white = marginal.chunk(2, dim=i)
        expected = (white / (black + white)).expand(table.shape)
        assert torch.allclose(logits[:, i].sigmoid().view(table.shape), expected, rtol=1e-8, atol=1e-12)


@given(st.integers(1, 7), st.integers(0, 99))
def test_the_belief_net_by_hand(n, seed):
    model = wild(made.FVBN(n), seed)
    w, b, x = model.weight.detach().numpy(), model.bias.detach().numpy(), made.bits(n).numpy()
    log_p = np.zeros(len(x))
    for row, bits in enumerate(x):
        for i in range(n):
            logit = b[i] + sum(w[i, j] * bits[j] for j in range(i))
            log_p[row] += np.log(1 / (1 + np.exp(-logit if bits[i] else logit)))
    assert np.allclose(made.log_prob(model, made.bits(n)).detach().numpy(), log_p, rtol=1e-9)


@given(st.integers(1, 9), st.integers(0, 99))
def test_without_hidden_layers_made_is_a_belief_net(n, seed):
    net, model = wild(made.FVBN(n), seed), made.MADE(n, ()).double()
    assert torch.equal(model.masks[0], net.mask.float())
    with torch.no_grad():
        model.layers[0].weight.copy_(net.weight)
        model.layers[0].bias.copy_(net.bias)
    assert torch.equal(made.probabilities(model), made.probabilities(net))


@given(orders, widths.filter(len))
def test_another_order_is_the_same_network_on_permuted_bits(order, hidden):
    n = len(order)
    plain, turned = wild(made.MADE(n, hidden)), made.MADE(n, hidden, order).double()
    weights = {name: value.clone() for name, value in plain.state_dict().items()}
    last = len(hidden)
    weights["layers.0.weight"][:, order] = plain.layers[0].weight.detach()
    weights[f"layers.{last}.weight"][order] = plain.layers[last].weight.detach()
    weights[f"layers.{last}.bias"][order] = plain.layers[last].bias.detach()
    turned.load_state_dict(weights)
    x = made.bits(n)
    assert torch.allclose(made.log_prob(turned, x), made.log_prob(plain, x[:, order]), rtol=1e-10)


@pytest.mark.parametrize("model", [made.FVBN(3), made.MADE(3, ())])
def test_extreme_logits_have_finite_log_probabilities(model):
    (bias,) = (p for name, p in model.named_parameters() if name.endswith("bias"))
    with torch.no_grad():
        bias.copy_(torch.tensor([1e4, -1e4, 1e4]))
    log_p = made.log_prob(model, made.bits(3))
    assert log_p.isfinite().all() and log_p.argmax() == 0b101 and log_p.min() < -2e4


def test_a_new_belief_net_is_a_row_of_fair_coins():
    assert torch.equal(made.probabilities(made.FVBN(5)), torch.full((32,), 1 / 32))


def test_weights_follow_the_seed_alone():
    before = torch.get_rng_state()
    a, b, c = (made.MADE(4, seed=s).state_dict() for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[k], b[k]) for k in a) and any(not torch.equal(a[k], c[k]) for k in a)


# ---------------------------------------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("model", [*both(4), *both(3, [2, 0, 1])[1:], wild(made.MADE(4, (6,), [3, 1, 0, 2]), 5, 2.0)])
def test_frequencies_of_samples_are_the_probabilities(model):
    count = 40_000
    x = made.sample(model, count, generator=generator())
    assert x.shape == (count, model.n) and ((x == 0) | (x == 1)).all() and not x.requires_grad
    index = (x * 2 ** torch.arange(model.n - 1, -1, -1)).sum(1).long()
    seen = index.bincount(minlength=2**model.n).double() / count
    p = made.probabilities(model)
    error = (p * (1 - p) / count).sqrt()
    assert ((seen - p).abs() < 5 * error + 1 / count).all()  # five standard errors each
    assert ((seen - p) / error)[p * count > 5].square().mean() < 3  # and not all of them far off together


def test_samples_are_seeded_and_of_the_models_type():
    model = wild(made.MADE(6))
    before = torch.get_rng_state()
    a, b, c = (made.sample(model, 30, generator=generator(s)) for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and a.dtype == torch.float64
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    d = made.sample(model, 30)
    torch.manual_seed(3)
    assert torch.equal(made.sample(model, 30), d)


def test_sampling_takes_a_pass_for_each_bit():
    passes = []
    for model in both(7):
        model.register_forward_hook(lambda *_: passes.append(1))
        made.sample(model, 100, generator=generator())
    assert len(passes) == 14


# -------------------------------------------------------------------------------------------------------------- fits


@pytest.mark.parametrize("k", [2, 3])
def test_made_reaches_the_entropy_of_bars_and_stripes(k):
    x = made.bars_and_stripes(k)
    entropy = math.log(len(x))
    model = made.MADE(k * k)
    history = made.fit(model, x)
    assert len(history) == 500 and all(type(nats) is float for nats in history)
    assert min(history) > entropy - 1e-5  # no model of data is better than the data's entropy
    assert history[0] > entropy + 0.9 and history[-1] < entropy + 0.005
    p = made.probabilities(model.double())
    on = made.log_prob(model, x).exp()
    assert on.sum() > 0.99 and p.sum().item() == pytest.approx(1, abs=1e-12)
    divergence = -entropy - made.log_prob(model, x).mean().item()  # D(data ‖ model)
    assert 0 <= divergence < 0.005
    assert divergence == pytest.approx(history[-1] - entropy, abs=1e-3)
    drawn = made.sample(model, 500, generator=generator())
    found = (drawn[:, None] == x).all(2).any(1).double().mean()
    assert found > 0.97


def test_a_belief_net_learns_bars_and_stripes_too_but_slower():
    x = made.bars_and_stripes(3)
    history = made.fit(made.FVBN(9), x)
    assert history[0] == pytest.approx(9 * math.log(2), rel=1e-6)
    assert math.log(14) < history[-1] < math.log(14) + 0.1


@pytest.mark.parametrize("n", [2, 3, 4])
def test_parity_needs_hidden_units(n):
    """The last bit is decided by the others, yet no weighted sum of them says how: a belief net misses log 2 nats."""
    x = made.bits(n)
    x = x[x.sum(1) % 2 == 0]
    entropy = (n - 1) * math.log(2)
    net, model = made.FVBN(n), made.MADE(n)
    history = made.fit(net, x, 300)
    if n > 2:  # with two bits the last is a copy of the first, which a weighted sum can say
        assert history[-1] == pytest.approx(n * math.log(2), abs=1e-4)
    else:
        assert history[-1] < entropy + 0.05
    assert entropy - 1e-5 < made.fit(model, x)[-1] < entropy + 0.01


@settings(max_examples=5)
@given(st.sets(st.integers(0, 15), min_size=1, max_size=16), st.permutations(range(4)))
def test_made_reaches_the_entropy_of_any_set_of_pictures_in_any_order(chosen, order):
    x = made.bits(4)[sorted(chosen)]
    history = made.fit(made.MADE(4, (48,), order), x)
    assert math.log(len(x)) - 1e-5 < history[-1] < math.log(len(x)) + 0.02


def test_a_fit_weighs_rows_by_how_often_they_come():
    x = torch.tensor([[0.0, 1.0]] * 3 + [[1.0, 0.0]])
    model = made.FVBN(2)
    made.fit(model, x)
    assert made.probabilities(model).tolist() == pytest.approx([0, 0.75, 0.25, 0], abs=0.01)


def test_a_fit_repeats_bit_by_bit():
    x = made.bars_and_stripes(2)
    assert made.fit(made.MADE(4), x, 20) == made.fit(made.MADE(4), x, 20) != made.fit(made.MADE(4, seed=1), x, 20)


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(("x", "what"), [
    (torch.zeros(2, 3), r"x must be a float tensor of shape \(batch, 4\), got torch.float32 \(2, 3\)"),
    (torch.zeros(4), r"got torch.float32 \(4,\)"),
    (torch.zeros(1, 1, 2, 2), r"got torch.float32 \(1, 1, 2, 2\)"),
    (torch.zeros(2, 4, dtype=torch.int64), r"float tensor .* got torch.int64"),
    (torch.zeros(2, 4, dtype=torch.bool), "got torch.bool"),
    ([[0.0] * 4], "got list"),
    (None, "got NoneType"),
])
def test_what_has_not_the_bits_is_refused(x, what):
    for model in both(4):
        for ask in (model, lambda v, m=model: made.log_prob(m, v), lambda v, m=model: made.fit(m, v, 1)):
            with pytest.raises(Error, match=what):
                ask(x)


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (2.0, "2"), (-1.0, "-1"), (math.nan, "nan")])
def test_what_is_not_0_or_1_has_no_probability(value, shown):
    x = torch.zeros(3, 4)
    x[1, 2] = value
    for model in both(4):
        for ask in (made.log_prob, made.fit):
            with pytest.raises(Error, match=f"x must be 0 or 1 everywhere, got {shown}$"):
                ask(model, x)


def test_other_things_are_refused():
    model, x = made.MADE(4), made.bars_and_stripes(2)
    for ask, what in [
        (lambda: made.bits(0), "n must be at least 1, got 0"),
        (lambda: made.bits(21), "n must be at most 20, .*got 21"),
        (lambda: made.bits(2.0), "n must be a whole number, got 2.0"),
        (lambda: made.bars_and_stripes(0), "k must be at least 1, got 0"),
        (lambda: made.bars_and_stripes(11), "k must be at most 10, got 11"),
        (lambda: made.FVBN(0), "n must be at least 1"),
        (lambda: made.FVBN(True), "n must be a whole number, got True"),
        (lambda: made.MADE(-2), "n must be at least 1, got -2"),
        (lambda: made.MADE(4, (8, 0)), "each number of hidden must be at least 1, got 0"),
        (lambda: made.MADE(4, (8.0,)), "each number of hidden must be a whole number, got 8.0"),
        (lambda: made.MADE(4, 32), "hidden must be whole numbers in a list or tuple, got 32"),
        (lambda: made.MADE(4, order=[0, 1, 2]), r"each of the bits 0 to 3 once, got \[0, 1, 2\]"),
        (lambda: made.MADE(4, order=[1, 2, 3, 4]), r"each of the bits 0 to 3 once, got \[1, 2, 3, 4\]"),
        (lambda: made.MADE(4, order=[0, 1, 1, 3]), "order must name each of the bits"),
        (lambda: made.MADE(4, order=[-1, 0, 1, 2]), "order must name each of the bits"),
        (lambda: made.MADE(4, order="0123"), "order must be whole numbers in a list or tuple, got '0123'"),
        (lambda: made.MADE(4, seed=0.5), "seed must be a whole number, got 0.5"),
        (lambda: made.masks_of([[1, 2]]), "at least two, got 1"),
        (lambda: made.probabilities(made.FVBN(21)), "n must be at most 20, .*got 21"),
        (lambda: made.sample(model, 0), "n must be at least 1, got 0"),
        (lambda: made.sample(model, 2.5), "n must be a whole number, got 2.5"),
        (lambda: made.log_prob(model, torch.zeros(0, 4)), "x must have at least one row"),
        (lambda: made.fit(model, torch.zeros(0, 4)), "x must have at least one row"),
        (lambda: made.fit(model, x, 0), "steps must be at least 1, got 0"),
        (lambda: made.fit(model, x, 5, -0.1), "learning_rate must be positive, got -0.1"),
        (lambda: made.fit(made.MADE(4, (8, 8)), x, 9, 1e30), r"the loss is (nan|inf) at step \d: try a learning_rate"),
    ]:
        with pytest.raises(Error, match=what):
            ask()


def test_orders_may_be_tensors_arrays_and_ranges():
    for order in (torch.tensor([2, 1, 0]), np.array([2, 1, 0]), range(2, -1, -1), (2, 1, 0)):
        assert made.MADE(3, order=order).order == [2, 1, 0]


def test_it_is_a_part_of_the_package():
    assert gentut.made is made and "made" in dir(gentut) and issubclass(made.MADE, nn.Module)
