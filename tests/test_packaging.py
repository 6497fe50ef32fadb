"""What a user installs: requirements, pins, the wheel's contents, and one address of the repository everywhere."""

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins():
    """Name to version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if not line.startswith("#")}


def tool_of_the_site(name):
    """A module of site/."""
    spec = importlib.util.spec_from_file_location(f"gentut_site_{name}", ROOT / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_environment_has_the_requirements_of_the_package_and_the_book():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (listed,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    requirements = [line for line in listed if not line.startswith("--")]
    assert sorted(requirements) == sorted(PROJECT["dependencies"] + EXTRAS["book"])
    assert "--editable ." in listed


def test_the_package_pins_nothing_and_asks_for_no_more_than_colab_has():
    colab = {"torch": "2.11.0", "ipywidgets": "7.7.1", "anywidget": "0.9.21"}
    for line in PROJECT["dependencies"]:
        requirement = Requirement(line)
        assert all(part.operator in (">=", "<") for part in requirement.specifier), line
        if requirement.name in colab:
            assert requirement.specifier.contains(colab[requirement.name]), line


def test_every_pin_is_exact_and_no_requirement_is_without_one():
    pinned = pins()
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pinned.values()), "exact, no local version"
    for line in PROJECT["dependencies"] + EXTRAS["book"] + EXTRAS["test"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line


def test_whatever_the_requirements_need_in_turn_is_pinned_too():
    pinned, seen = pins(), set()
    if importlib.metadata.version("numpy") != pinned["numpy"]:
        pytest.skip("this is not the environment of constraints.txt (make lowest)")
    waiting = [Requirement(line).name for line in PROJECT["dependencies"] + EXTRAS["book"] + EXTRAS["test"]]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            # torch brings its CUDA libraries along where there are any, in the versions that it names itself.
            if requirement.name.startswith(("nvidia-", "cuda-")) or requirement.name == "triton":
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    assert len(seen) > 100
    assert sorted(seen - set(pinned)) == []


def test_the_wheel_carries_scripts_styles_data_weights_and_types(tmp_path):
    pytest.importorskip("hatchling")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = set(wheel.namelist())
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "gentut = gentut.cli:main" in wheel.read(entry_points).decode()
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gentut").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    results = {f"gentut/results/{path.name}" for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert results and results <= names, "a benchmark's record is missing in the wheel"
    assert package <= names, "a file of the package is missing in the wheel"
    for pattern in ("widgets/*.js", "embedded/*.npz", "published/*.safetensors", "published/*.json", "py.typed"):
        assert list((ROOT / "gentut").glob(pattern)), pattern
    outside = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert outside == {"gentut"}


def test_training_runs_where_the_downloader_and_the_widgets_are_not_installed(tmp_path):
    code = """
import sys
for name in ("anywidget", "ipywidgets", "pooch", "matplotlib"):
    sys.modules[name] = None  # importing it raises ImportError
from gentut import data, vae
images = data.load("mnist-mini").train_images[:64]
run = vae.train(vae.Config(steps=2, batch_size=8), images=images, out=sys.argv[1])
print(len(run.history))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_importing_gentut_is_light():
    code = "import sys, gentut; print([n for n in ('torch', 'numpy', 'anywidget', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_versions_agree():
    import gentut

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == gentut.__version__


def test_the_readmes_numbers_are_those_of_the_result_files(tmp_path, monkeypatch):
    from gentut import checkpoints

    tool = tool_of_the_site("readme_numbers")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == tool.insert(readme, tool.section()), "run python site/readme_numbers.py"
    shutil.copytree(checkpoints.FOLDER, tmp_path / "published")
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path / "published")
    facts = checkpoints.card("vae-2d")
    facts["metrics"]["test"]["nats"] = 987.65
    checkpoints.write_card(facts, tmp_path / "published" / "vae-2d.json")
    assert " 987.6 " in tool.section() and " 987.6 " not in readme, "the table does not come from the cards"


def test_the_repositorys_address_is_the_same_everywhere():
    tool = tool_of_the_site("repository")
    github, colab, binder, website = tool.addresses(tool.current())
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["repository"]["url"] == github
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["repository-code"] == github
    assert citation["url"].rstrip("/") == website

    name = r"[\w.-]+/[\w.-]+"
    for path in tool.files():
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"git\+(https://[^\s\"'\\@]+)", text)) <= {github, f"{github}.git"}, path
        assert set(re.findall(rf"https://colab\.research\.google\.com/github/{name}", text)) <= {colab}, path
        assert set(re.findall(rf"https://mybinder\.org/v2/gh/{name}", text)) <= {binder}, path
    notebooks = sorted((ROOT / "book").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        first = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "code"))
        assert f'%pip install --quiet "gentut @ git+{github}"' in first, f"{path.name} does not install itself in Colab"


def test_make_repository_moves_every_address_and_back(tmp_path):
    tool = tool_of_the_site("repository")
    for path in tool.files():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    here, there = tool.current(), "https://github.com/Ada-L/my.book"
    changed = {path.name for path in tool.move(there, tmp_path)}
    assert {"pyproject.toml", "_config.yml", "CITATION.cff", "README.md", "vae.ipynb"} <= changed
    assert tool.current(tmp_path) == there
    texts = "\n".join(path.read_text(encoding="utf-8") for path in tool.files(tmp_path))
    assert not [address for address in tool.addresses(here) if re.search(re.escape(address) + r"(?![\w-])", texts)]
    tool.move(here, tmp_path)
    for path in tool.files():
        assert (tmp_path / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    with pytest.raises(SystemExit, match="OWNER/NAME"):
        tool.move("github.com/ada/book", tmp_path)


def test_makefile_keeps_to_what_make_3_81_knows():
    text = (ROOT / "Makefile").read_text()
    assert not re.search(r"\.ONESHELL|\.SHELLFLAGS|\$\(file |&:|!=|::=", text), "newer than GNU make 3.81"


@pytest.mark.parametrize("path", [".github/workflows", ".ci/run"])
def test_ci_calls_only_targets_that_exist(path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    files = [ROOT / path] if (ROOT / path).is_file() else sorted((ROOT / path).glob("*.yml"))
    called = {name for file in files for name in re.findall(r"\bmake ([a-z]+)", file.read_text())}
    assert files and called and called <= targets


def test_the_lock_file_names_no_registry():
    lock = json.loads((ROOT / "site" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all("resolved" not in entry and entry["integrity"].startswith("sha512-") for entry in packages.values())
