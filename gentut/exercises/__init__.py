"""Behind the self-checking exercises: `check("vae.kl", my_function)` says whether an answer is right, and if not, why.

A check tries the answer on a few inputs and compares it with what the package computes. It prints one line or two and
never stops a notebook: a wrong answer is no error. Names start with the chapter's name; the file of that name beside
this one holds the chapter's checks.
"""

import importlib
import pkgutil

import torch

from gentut import Error, choose

_CHECKS = {}


class Wrong(Exception):
    """An answer that is not right yet; its message says for which input and what was expected."""


class _NotAttempted(Exception):
    pass


def names(chapter=None):
    """Names of all exercises that are checked by code, or of one chapter's."""
    return [name for name in _checks() if chapter is None or name.startswith(f"{chapter}.")]


def _checks(chapter=None):
    """All checks, after every chapter's file has been imported; only `chapter`'s, if there is such a chapter."""
    chapters = sorted(module.name for module in pkgutil.iter_modules(__path__))
    for each in [chapter] if chapter in chapters else chapters:
        importlib.import_module(f"{__name__}.{each}")
    return _CHECKS


def check(name, attempt, *, strict=False):
    """Check an answer and print the verdict. Returns True (right), False (not yet) or None (not attempted).

    attempt: the function (or value) that the exercise asks for. `...`, None and a function that returns one of them or
    raises NotImplementedError count as not attempted. strict: raise Wrong instead of printing, for tests.
    Raises Error for an unknown name.
    """
    checks = _checks(str(name).split(".")[0])
    if name not in checks:
        checks = _checks()  # for the list of all names
    test = checks[choose("exercise", name, list(checks))]
    try:
        if attempt is None or attempt is Ellipsis:
            raise _NotAttempted
        if not callable(attempt):
            raise Wrong(f"expected a function, got {type(attempt).__name__}.")
        test(attempt)
    except (_NotAttempted, NotImplementedError):
        print(f"{name}: not attempted yet.")
        return None
    except Wrong as why:
        if strict:
            raise
        print(f"{name}: not yet. {why}")
        return False
    print(f"{name}: right.")
    return True


def exercise(name):
    """Register the function below as the check of exercise `name`: it takes the attempt and raises Wrong."""

    def register(test):
        if name in _CHECKS:
            raise Error(f"there are two exercises called {name!r}")
        _CHECKS[name] = test
        return test

    return register


# ------------------------------------------------------------------------------------------ what the checks are made of


def call(attempt, *inputs, shown):
    """The attempt's answer for the inputs; whatever it raises becomes a Wrong that names the input (`shown`)."""
    try:
        answer = attempt(*inputs)
    except NotImplementedError:
        raise
    except Exception as why:
        raise Wrong(f"For {shown} it raised {type(why).__name__}: {why}") from None
    if answer is None or answer is Ellipsis:
        raise _NotAttempted
    return answer


def compare(answer, expected, shown, hint="", tolerance=1e-4):
    """Raise Wrong unless `answer` is a tensor with the shape and values of `expected`; a 0-d one may be a number."""
    if expected.ndim == 0 and isinstance(answer, (int, float)) and not isinstance(answer, bool):
        answer = torch.tensor(answer, dtype=expected.dtype)
    if not torch.is_tensor(answer):
        raise Wrong(f"For {shown} a tensor of shape {tuple(expected.shape)} was expected, got {type(answer).__name__}.")
    if answer.shape != expected.shape:
        raise Wrong(f"For {shown} the shape {tuple(expected.shape)} was expected, got {tuple(answer.shape)}.")
    answer = answer.detach().to(expected.dtype)
    wrong = ~torch.isclose(answer, expected, rtol=tolerance, atol=tolerance)
    if wrong.any():
        where = tuple(wrong.nonzero()[0].tolist())
        place = f" at {list(where)}" if where else ""
        got, want = answer[where].item(), expected[where].item()
        raise Wrong(f"For {shown} the value {want:.4f} was expected{place}, got {got:.4f}. {hint}".rstrip())
