"""Repairs to the theme's HTML (site/_ext/gentut_access.py); what they do for a reader is tested in the browser."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[1] / "site" / "_ext" / "gentut_access.py"


@pytest.fixture(scope="module")
def access():
    spec = importlib.util.spec_from_file_location("gentut_access", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("written", "repaired"),
    [
        (
            '<button class="btn search-button-field x" title="Search" aria-label="Search" data-a="b">',
            '<button class="btn search-button-field x" title="Search" data-a="b">',
        ),
        (
            '<i class="theme-switch fa-sun" data-mode="light" title="Light"></i>',
            '<i class="theme-switch fa-sun" data-mode="light" aria-hidden="true"></i>',
        ),
        (
            '<div class="sidebar-primary-item">\n\n <a class="navbar-brand logo" href="intro.html">',
            '<div class="sidebar-primary-item" role="navigation" aria-label="Home">\n\n '
            '<a class="navbar-brand logo" href="intro.html">',
        ),
        ('<th class="head"><p></p></th>', '<td class="head"><p></p></td>'),
        ("<th></th>", "<td></td>"),
    ],
)
def test_what_the_theme_writes_is_repaired(access, written, repaired):
    assert access.repair(written) == repaired
    assert access.repair(repaired) == repaired, "a second time there is nothing to repair"


@pytest.mark.parametrize(
    "text",
    [
        '<th class="head"><p>nats</p></th>',
        "<thead></thead>",
        '<div class="sidebar-primary-item"><nav></nav></div>',
        '<button class="btn" aria-label="Search">',
        "<script>const corner = '<th></th>';</script>",
    ],
)
def test_all_else_stays(access, text):
    assert access.repair(text) == text
