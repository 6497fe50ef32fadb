"""Copy the third-party files that the site serves itself from node_modules to site/static/vendor.

Only what a page can ask for: MathJax's one-file build, its fonts, and the TeX extensions that it loads when a formula
first uses one of them (\\boldsymbol, \\color, ...; without the file no formula of that page would be drawn).
"""

import shutil
from pathlib import Path

SITE = Path(__file__).resolve().parent
MATHJAX = SITE / "node_modules" / "mathjax"
PATTERNS = ["es5/tex-chtml.js", "es5/output/chtml/fonts/woff-v2/*.woff", "es5/input/tex/extensions/*.js", "LICENSE"]


def main():
    """Replace site/static/vendor as a whole."""
    vendor = SITE / "static" / "vendor"
    shutil.rmtree(vendor, ignore_errors=True)
    for pattern in PATTERNS:
        files = sorted(MATHJAX.glob(pattern))
        if not files:
            raise SystemExit(f"mathjax has no {pattern}: has its layout changed?")
        for file in files:
            target = vendor / "mathjax" / str(file.relative_to(MATHJAX)).removeprefix("es5/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


if __name__ == "__main__":
    main()
