"""Where the project lives: one address in pyproject.toml, and everything that is derived from it.

    make repository URL=https://github.com/you/gentut

writes a new address, and the addresses of the website, of Colab and of Binder that follow from it, into every file that
names the old one. Without URL it prints the address.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ["pyproject.toml", "_config.yml", "environment.yml", "CITATION.cff", "*.md", "book/*.md", "book/*.ipynb"]
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+?)(?:\.git)?/?")


def current(root: Path = ROOT) -> str:
    """The address in pyproject.toml."""
    match = re.search(r'^Repository = "(.+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    if not match:
        raise SystemExit('pyproject.toml has no line Repository = "..." under [project.urls]')
    return match.group(1)


def addresses(url: str) -> list[str]:
    """All the addresses that follow from the repository's, itself first."""
    match = ADDRESS.fullmatch(url)
    if not match:
        raise SystemExit(f"{url!r} is not an address like https://github.com/OWNER/NAME")
    owner, name = match.groups()
    return [
        f"https://github.com/{owner}/{name}",
        f"https://colab.research.google.com/github/{owner}/{name}",
        f"https://mybinder.org/v2/gh/{owner}/{name}",
        f"https://{owner.lower()}.github.io/{name}",
    ]


def files(root: Path = ROOT) -> list[Path]:
    """The files that may name an address."""
    return [path for pattern in PATTERNS for path in sorted(root.glob(pattern))]


def move(url: str, root: Path = ROOT) -> list[Path]:
    """Replace every address of the old repository by the new one's; return the files that changed."""
    pairs = list(zip(addresses(current(root)), addresses(url), strict=True))
    changed = []
    for path in files(root):
        text = old_text = path.read_text(encoding="utf-8")
        for old, new in pairs:
            text = re.sub(re.escape(old) + r"(?![\w-])", lambda _, new=new: new, text)
        if text != old_text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def main():
    """The command behind `make repository`."""
    if len(sys.argv) < 2 or not sys.argv[1]:
        print(f"{current()}\nTo change it: make repository URL=https://github.com/OWNER/NAME")
        return
    for path in move(sys.argv[1]):
        print(f"changed {path.relative_to(ROOT)}")
    print(current())


if __name__ == "__main__":
    main()
