"""book/notation.md is the ledger: every symbol of a formula is in it, and what it says of the code is true."""

import functools
import importlib
import inspect
import json
import math
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
CHAPTERS = ("probability", "information", "variational", "markov", "pixelcnn", "vae", "gan", "diffusion", "ddpm")
# The modules that a chapter's names are looked for in.
MODULES = {
    "probability": ["probability"],
    "information": ["information"],
    "variational": ["variational", "families"],
    "markov": ["markov"],
    "pixelcnn": ["pixelcnn", "made", "causal", "drawing"],
    "vae": ["vae", "metrics"],
    "gan": ["gan", "games", "mixtures", "styles", "metrics", "probability"],
    "diffusion": ["diffusion", "points", "mixtures", "bounds"],
    "ddpm": ["ddpm", "unet", "diffusion"],
}
MATHS = sorted(set().union(*MODULES.values()))


# --------------------------------------------------------------------------------------------------------- the formulas

ACCENTS = r"\\(hat|bar|tilde|mathcal|mathbb|mathbf)\s*\{?\s*(\\[a-zA-Z]+|[a-zA-Z0-9])\s*\}?"
GREEK = [
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma",
    "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega",
]  # fmt: skip
SIGNS = ["nabla", "partial", "varnothing", "odot", "ell", "infty", "det", "top"]  # other macros that stand for a thing
# Words in a formula that are symbols. Everything else within \text{...} is prose.
NAMES = {"ELBO", "SNR", "JS", "TV", "NCE", "tr"}


def symbols(formula):
    r"""The symbols of a TeX formula: letters, Greek letters, accents with their letter, and a few signs.

    Functions that everybody knows (\log, \sin, \max, ...), operators, brackets and spaces are not symbols.
    """
    formula = re.sub(r"\\tag\{[^}]*\}|\\(begin|end)\{[^}]*\}", " ", formula)
    found = {word for word in re.findall(r"\\text\{\s*(\w+)\s*\}", formula) if word in NAMES}
    formula = re.sub(r"\\(text|operatorname|mathrm)\{[^}]*\}", " ", formula)
    found |= {f"{accent} {letter}" for accent, letter in re.findall(ACCENTS, formula)}
    formula = re.sub(ACCENTS, " ", formula)
    found |= {name for name in re.findall(r"\\([a-zA-Z]+)", formula) if name in GREEK + SIGNS}
    return found | set(re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", formula)))


def formulas(text):
    """All formulas of a Markdown text, displayed and in line. In line they may run over the end of a line."""
    text = re.sub(r"```.*?```|`[^`\n]+`", " ", text, flags=re.DOTALL)
    shown = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
    return shown + re.findall(r"\$([^$]+?)\$", re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL))


def prose(chapter):
    cells = json.loads((ROOT / "book" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]


# ----------------------------------------------------------------------------------------------------------- the ledger


@functools.cache
def ledger():
    """Rows of the ledger: (section, numbers of its chapters, symbol, meaning, code, shape)."""
    text, rows = (ROOT / "book" / "notation.md").read_text(encoding="utf-8"), []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, said, *_ = (line for line in section.splitlines() if line)
        numbers = list(map(int, re.findall(r"\d", said)))
        assert re.fullmatch(r"\*Chapters? [\d, andto]+\.\*", said), f"{title}: for which chapters? {said}"
        chapters = list(range(numbers[0], numbers[1] + 1)) if " to " in said else numbers
        for line in section.splitlines():
            if line.startswith("| ") and not line.startswith("| Symbol"):
                columns = [part.strip() for part in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
                assert len(columns) == 4, line
                rows.append((title, chapters, *columns))
    return rows


def names(code):
    """What a cell of the column "In code" names: `target("v", ...)` names target."""
    return [re.match(r"[\w.]+", span)[0] for span in re.findall(r"`([^`]+)`", code)]


def test_the_ledger_has_its_columns_and_says_everything():
    text = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
    assert text.count("| Symbol | Meaning | In code | Shape |") == len({row[0] for row in ledger()}) >= 9
    assert len(ledger()) > 100
    for title, _, symbol, meaning, code, _ in ledger():
        assert symbol or code, f"{title}: a row without a symbol and without a name"
        assert len(meaning) > 5, f"{title}: {symbol} means nothing"
    assert {n for row in ledger() for n in row[1]} == set(range(1, 10))


@pytest.mark.parametrize("number", range(1, 10))
def test_every_symbol_of_a_chapter_is_in_the_ledger(number):
    listed = set()
    for _, chapters, symbol, *_ in ledger():
        if number in chapters:
            listed |= set().union(*map(symbols, formulas(symbol)), [])
    for text in prose(CHAPTERS[number - 1]):
        for formula in formulas(text):
            missing = symbols(formula) - listed
            assert not missing, f"chapter {number} uses {sorted(missing)}, not in its ledger: {formula.strip()[:80]}"


def test_the_ledger_lists_nothing_that_its_chapters_do_not_use():
    used = {
        number: set().union(*(symbols(formula) for text in prose(chapter) for formula in formulas(text)))
        for number, chapter in enumerate(CHAPTERS, 1)
    }
    for title, chapters, symbol, *_ in ledger():
        stale = set().union(*map(symbols, formulas(symbol)), []) - set().union(*(used[n] for n in chapters))
        assert not stale, f"{title}: nobody writes {sorted(stale)}"


def test_the_search_for_symbols_finds_them():
    assert symbols(r"\tfrac12 \log \bar\alpha_t + \hat x_0 \,\text{ with }\, \text{ELBO}(q; x)") == {
        "bar \\alpha", "t", "hat x", "ELBO", "q", "x"
    }  # fmt: skip
    assert symbols(r"\mathcal N(\mu, \sigma^2) \tag{3.1}") == {"mathcal N", "mu", "sigma"}
    assert formulas("a $x$ and `$y$` and\n$$\nz\n$$ and $u\nv$") == ["\nz\n", "x", "u\nv"]


# ------------------------------------------------------------------------------------------------------------- the code


def functions(module):
    """(name, function) of all public functions and methods of a module of gentut, constructors among them."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            for inner, method in vars(thing).items():
                method = getattr(method, "__func__", method)
                if inspect.isfunction(method) and (not inner.startswith("_") or inner == "__init__"):
                    yield f"{name}.{inner}", method


@functools.cache
def vocabulary(name):
    """All names that a module gives its reader: functions, classes, their attributes, parameters."""
    module = importlib.import_module(f"gentut.{name}")
    found = {public for public in vars(module) if not public.startswith("_")}
    for thing in list(vars(module).values()):
        if inspect.isclass(thing) and thing.__module__ == module.__name__:
            found |= set(dir(thing)) | set(getattr(thing, "__annotations__", {}))
            found |= set(re.findall(r"self\.(\w+)", inspect.getsource(thing)))
    for _, function in functions(module):
        found |= set(inspect.signature(function).parameters)
    return found


def test_every_name_in_the_ledger_exists_in_the_code():
    for title, chapters, _, _, code, _ in ledger():
        modules = set().union(*(MODULES[CHAPTERS[n - 1]] for n in chapters))
        for name in names(code):
            if "." in name:  # a path: torch.special.ndtr
                first, *rest = name.split(".")
                start = {"torch": torch, "math": math}.get(first) or importlib.import_module(f"gentut.{first}")
                assert functools.reduce(getattr, rest, start) is not None
            elif not hasattr(torch.Tensor, name):
                assert any(name in vocabulary(module) for module in modules), f"{title}: no {name} in {sorted(modules)}"


def shapes(section, name):
    """The shapes that the ledger gives, with numbers for the words in them."""
    (cell,) = (row[5] for row in ledger() if row[0] == section and name in names(row[4]))
    sizes = {"batch": 3, "latent": 2, "T": 10, "k": 3, "n": 6, "walkers": 4, "levels": 4, "width": 8, "classes": 1}
    return [eval(span, {}, sizes) for span in re.findall(r"`(\(.*?\))`", cell)]


def test_the_shapes_in_the_ledger_are_those_of_the_code():
    from gentut import diffusion, gan, markov, metrics, pixelcnn, unet, vae

    x, g = torch.rand(3, 1, 28, 28), torch.Generator().manual_seed(0)
    net, game = vae.build(vae.Config(latent=2)), gan.build(gan.Config(latent=2))
    schedule, kitchen = diffusion.Schedule.cosine(10), markov.RESTAURANT
    found = {
        ("Variational autoencoder", "encode"): net.encode(x)[0],
        ("Variational autoencoder", "decode"): net.decode(torch.zeros(3, 2)),
        ("Variational autoencoder", "log_var"): net.encode(x)[1],
        ("Variational autoencoder", "reparameterise"): vae.reparameterise(*net.encode(x), torch.zeros(3, 2)),
        ("Variational autoencoder", "elbo_terms"): vae.elbo_terms(net, x, generator=g)[0],
        ("Variational autoencoder", "components"): [vae.PCA.fit(x, 3).mean, vae.PCA.fit(x, 3).components],
        ("Adversarial networks", "generator"): game.generator(torch.zeros(3, 2)),
        ("Adversarial networks", "discriminator"): game.discriminator(x),
        ("Adversarial networks", "score"): game.score(x),
        ("Adversarial networks", "moments"): list(metrics.moments(torch.rand(100, 64))),
        ("Autoregressive models", "model"): pixelcnn.build(pixelcnn.Config(levels=4))(x),
        ("Diffusion", "betas"): schedule.betas,
        ("Diffusion", "alphas"): schedule.alphas,
        ("Diffusion", "alpha_bar"): schedule.alpha_bar,
        ("Diffusion", "snr"): schedule.snr,
        ("Diffusion of pictures", "time_embedding"): unet.time_embedding(torch.arange(3), 8),
        ("Markov chains", "A"): kitchen,
        ("Markov chains", "stationary"): markov.stationary(kitchen),
        ("Markov chains", "eigenvalues"): markov.eigenvalues(kitchen),
        ("Markov chains", "distances"): markov.distances(kitchen, 6),
        ("Markov chains", "simulate"): markov.simulate(kitchen, [0, 1, 2, 0], 6, generator=g),
    }
    for (section, name), tensors in found.items():
        tensors = tensors if isinstance(tensors, list) else [tensors]
        assert shapes(section, name) == [tuple(tensor.shape) for tensor in tensors], f"{section}: {name}"


# Parameters that are short, or have a Greek letter in them, and are no quantity of a formula.
PLAIN = {
    "at": "places on an axis",
    "ax": "matplotlib's axes",
    "kl": "how the VAE's KL term is summed",
    "m": "samples that a recorded game shows",
    "measure_eta": "the eta that a card was measured with",
}
SPELT_OUT = {name.lower().removeprefix("var") for name in GREEK}


def mathematical(parameter):
    """Whether a parameter's name is a letter of mathematics: one or two letters, or with a Greek letter in it."""
    parts = {part if part == "eps" else part.rstrip("s") for part in re.split(r"[_\d]+", parameter)}
    letter = len(parameter) <= 2 or re.fullmatch("[a-z]_[a-z0-9]", parameter)
    return bool(letter or parts & (SPELT_OUT | {"eps", "var"}))


@pytest.mark.parametrize("module", MATHS)
def test_parameters_have_the_names_of_the_ledger(module):
    """A function that takes ᾱ calls it what the ledger calls it, and there is no second name for a variance."""
    listed = {name for row in ledger() for name in names(row[4])}
    for where, function in functions(importlib.import_module(f"gentut.{module}")):
        for parameter in inspect.signature(function).parameters:
            base = re.sub(r"_[pq]$", "", parameter)  # mu_p, mu_q: those of p and of q; sigmas: one for each
            known = {parameter, base, base.rstrip("s")} & (listed | set(PLAIN))
            assert known or not mathematical(parameter), f"{module}.{where}({parameter}): no name of the ledger"


# Other people's names for what the ledger and the package call otherwise.
SECOND_NAMES = {
    "variance": r"var|sigma2|sigma_sq",
    "log_var": r"logvar|log_variance|log_sigma2",
    "covariance": r"cov|cov_\w+|covar",
    "alpha_bar": r"alphas_bar|alpha_cumprod|alphas_cumprod|abar",
    "temperature": r"temp|tau",
    "labels": r"label|y_true|classes_of",
    "logits": r"logit|scores_of",
    "generator": r"rng|random_state|gen",
    "learning_rate": r"lr|step_size",
    "steps": r"n_steps|num_steps|nsteps|timesteps",
    "n": r"n_samples|num_samples|n_draws|count",
    "latent": r"z_dim|latent_dim|n_latent",
    "beta": r"kl_weight",
    "guidance": r"guidance_scale|cfg|w",
    "covariances": r"covs",
}


@pytest.mark.parametrize("module", MATHS)
def test_no_parameter_has_a_second_name(module):
    for where, function in functions(importlib.import_module(f"gentut.{module}")):
        for parameter in inspect.signature(function).parameters:
            for name, others in SECOND_NAMES.items():
                assert not re.fullmatch(others, parameter), f"{module}.{where}({parameter}): this book says {name}"


def test_a_second_name_for_a_quantity_would_be_found():
    listed = {name for row in ledger() for name in names(row[4])}
    for synonym in ("sigma2", "alphas_bar", "var", "log_sigma", "sigma_sq", "eps_hat", "x_0", "xt", "w"):
        assert mathematical(synonym) and synonym not in listed | set(PLAIN), synonym
    assert not any(map(mathematical, ("variance", "labels", "generator", "steps", "alphabet")))
