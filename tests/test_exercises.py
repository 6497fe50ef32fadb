"""exercises.py: every published solution passes its check, typical wrong answers are refused and told why."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm

from gentut import Error, exercises

BOOK = Path(__file__).parents[1] / "book"
SOLUTION = re.compile(r"```python\n# solution: (\S+)\n(.*?)```", re.DOTALL)


def solutions():
    """{exercise: source} of every solution in the notebooks' <details>."""
    found = {}
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                text = "".join(cell["source"])
                for name, source in SOLUTION.findall(text):
                    assert name not in found, f"two solutions of {name}"
                    assert text.rfind("<details>", 0, text.index(source)) >= 0, f"the solution of {name} is not folded"
                    found[name] = source
    return found


def run(source):
    """The function that a solution defines, with the names that the notebook has."""
    scope = {"torch": torch, "math": math, "F": F}
    exec(source, scope)  # our own published text
    return next(value for key, value in scope.items() if key.startswith("my_"))


def test_every_exercise_has_a_published_solution_and_a_cell_that_checks_it():
    assert set(solutions()) == set(exercises.names())
    for path in BOOK.glob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        source = "\n".join("".join(c["source"]) for c in cells)
        assert sorted(re.findall(r'check\("([^"]+)"', source)) == sorted(exercises.names(path.stem))


@pytest.mark.parametrize("name", exercises.names())
def test_the_published_solution_passes(name, capsys):
    assert exercises.check(name, run(solutions()[name])) is True
    assert capsys.readouterr().out == f"{name}: right.\n"


def evenly_spaced(n):
    axis = torch.linspace(norm.ppf(0.05), norm.ppf(0.95), n)
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    return torch.stack([z1, z2], -1)


def quantiles(n):
    return torch.from_numpy(norm.ppf(torch.linspace(0.05, 0.95, n).double().numpy())).float()


def upside_down(n):
    z2, z1 = torch.meshgrid(quantiles(n), quantiles(n), indexing="ij")
    return torch.stack([z1, z2], -1)


def swapped(n):
    return upside_down(n).flip(0).flip(-1)


bce = F.binary_cross_entropy_with_logits
WRONG = [
    ("vae.kl", lambda m, v: 0.5 * (m**2 + v.exp() + v - 1), "log σ²"),  # sign of the logarithm
    ("vae.kl", lambda m, v: 0.5 * (m**2 + v**2 - 2 * v.abs().log() - 1), "D\\(p ‖ p\\)"),  # log_var taken for sigma
    ("vae.kl", lambda m, v: (0.5 * (m**2 + v.exp() - v - 1)).sum(-1), "shape \\(1, 1\\) was expected, got \\(1,\\)"),
    ("vae.kl", lambda m, v: 0.5 * (v.exp() - v - 1), "term in mu"),  # the mean forgotten
    ("vae.reconstruction", lambda a, x: bce(a, x), "shape \\(3,\\) was expected, got \\(\\)"),  # all averaged
    ("vae.reconstruction", lambda a, x: bce(a, x, reduction="none").flatten(1).mean(1), "summed over the 784"),
    ("vae.reconstruction", lambda a, x: -bce(a, x, reduction="none").flatten(1).sum(1), "positive"),
    (
        "vae.reconstruction",
        lambda a, x: -(x * a.sigmoid().log() + (1 - x) * (1 - a.sigmoid()).log()).flatten(1).sum(1),
        "a finite number was expected, got (inf|nan)",
    ),
    ("vae.sample-code", lambda m, v: m + v.exp() * torch.rand_like(m), "mean of 40,000 codes"),  # the exercise's own
    ("vae.sample-code", lambda m, v: m + v.exp() * torch.randn_like(m), "standard deviation"),
    ("vae.sample-code", lambda m, v: m + (v / 2).exp() * (torch.rand_like(m) - 0.5) * 12**0.5, "not normally"),
    ("vae.sample-code", lambda m, v: m + (v.detach() / 2).exp() * torch.randn_like(m), "no gradient reaches log_var"),
    ("vae.sample-code", lambda m, v: torch.normal(m, (v / 2).exp()).detach(), "no gradient reaches mu"),
    ("vae.importance-bound", lambda w: w.mean(0), "before the logarithm"),
    ("vae.importance-bound", lambda w: w.exp().mean(0).log(), "got -inf"),
    ("vae.importance-bound", lambda w: w.logsumexp(0), "was expected"),  # log k forgotten
    ("vae.grid", evenly_spaced, "evenly spaced"),
    ("vae.grid", upside_down, "upside down"),
    ("vae.grid", swapped, "swapped"),
    ("vae.active-units", lambda mu: mu.mean(0).abs() > 0.01, "value 0.0000 was expected"),
    ("vae.active-units", lambda mu: mu.var(1) > 0.01, "shape \\(4,\\) was expected, got \\(500,\\)"),
    ("vae.active-units", lambda mu: mu.var(0), "True and False"),
]


@pytest.mark.parametrize(("name", "attempt", "why"), WRONG)
def test_a_wrong_answer_is_refused_with_its_reason(name, attempt, why, capsys):
    assert exercises.check(name, attempt) is False  # and raises nothing
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: not yet. ") and re.search(why, out), out
    with pytest.raises(exercises.Wrong):
        exercises.check(name, attempt, strict=True)


def test_each_exercise_has_at_least_two_wrong_answers_above():
    assert all(sum(w[0] == name for w in WRONG) >= 2 for name in exercises.names())


def unfinished(*_):
    raise NotImplementedError


@pytest.mark.parametrize("name", exercises.names())
@pytest.mark.parametrize("attempt", [..., None, lambda *_: ..., lambda *_: None, unfinished])
def test_what_was_not_attempted_is_no_failure(name, attempt, capsys):
    assert exercises.check(name, attempt, strict=True) is None
    assert capsys.readouterr().out == f"{name}: not attempted yet.\n"


@pytest.mark.parametrize("name", exercises.names())
def test_an_answer_that_raises_or_is_no_function_is_wrong_not_a_crash(name, capsys):
    assert exercises.check(name, lambda *_: 1 / 0) is False
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().out
    assert exercises.check(name, 3.0) is False
    assert "expected a function, got float" in capsys.readouterr().out
    assert exercises.check(name, lambda *_: "x") is False


def test_a_check_leaves_torchs_random_numbers_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    exercises.check("vae.sample-code", lambda m, v: m + (v / 2).exp() * torch.randn_like(m))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_exercise_names_the_nearest():
    with pytest.raises(Error, match="unknown exercise 'vae.kll'.*Did you mean 'vae.kl'"):
        exercises.check("vae.kll", ...)
