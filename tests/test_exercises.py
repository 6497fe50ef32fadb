"""exercises.py: every published solution passes its check, typical wrong answers are refused and told why."""

import json
import math
import re
import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gentut import Error, exercises

BOOK = Path(__file__).parents[1] / "book"
SLIPS = Path(__file__).parent / "wrong_answers"
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


def wrong_answers():
    """(exercise, attempt, pattern) of every typical slip listed in tests/wrong_answers/CHAPTER.py."""
    return [row for path in sorted(SLIPS.glob("*.py")) for row in runpy.run_path(str(path))["WRONG"]]


WRONG = wrong_answers()


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
