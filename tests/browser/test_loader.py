"""site/static/anywidget-lite.js: what a widget gets, how widgets are linked, what a reader sees when one fails."""

import base64
import json

import pytest

ECHO = """
export default {
  initialize({ model }) { model.started_times = (model.started_times ?? 0) + 1; },
  render({ model, el }) {
    const root = document.createElement("div");
    root.className = "echo";
    const show = () => { root.textContent = JSON.stringify(model.get("value")); };
    model.on("change:value", show);
    show();
    root.started = () => model.started_times;
    root.set = (value) => { model.set("value", value); model.save_changes(); };
    root.count = 0;
    model.on("change", () => { root.count += 1; });
    root.bytes = () => Array.from(new Uint8Array(
      model.get("raw").buffer, model.get("raw").byteOffset, model.get("raw").byteLength));
    root.nested = () => model.get("deep").list[1].getUint8(0);
    root.other = async () => (await model.widget_manager.get_model(model.get("friend"))).get("value");
    root.stop = () => model.off("change:value", show);
    el.append(root);
  },
};
"""


def widget(value, code=ECHO, buffers=(), **state):
    """The saved state of an anywidget."""
    full = {"_esm": code, "_css": ".echo { color: rgb(1, 2, 3) }", "value": value, **state}
    return {"model_name": "AnyModel", "model_module": "anywidget", "state": full, "buffers": list(buffers)}


def link(kind, source, target):
    """The saved state of jslink (LinkModel) or jsdlink (DirectionalLinkModel) between two widgets' values."""
    ends = {"source": [f"IPY_MODEL_{source}", "value"], "target": [f"IPY_MODEL_{target}", "value"]}
    return {"model_name": kind, "model_module": "@jupyter-widgets/controls", "state": ends}


@pytest.fixture
def load(page, site):
    """Open a page made of these models, with a view of each in `views`."""

    def load(models, views):
        state = json.dumps({"version_major": 2, "version_minor": 0, "state": models})
        body = "".join(
            f'<script type="application/vnd.jupyter.widget-view+json">{json.dumps({"model_id": name})}</script>'
            for name in views
        )
        html = f"""<!doctype html><html lang="en"><link rel="icon" href="data:,"><body>{body}
        <script type="application/vnd.jupyter.widget-state+json">{state}</script>
        <script src="_static/anywidget-lite.js" defer></script></body></html>"""
        page.route(f"{site.url}/loader.html", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(f"{site.url}/loader.html")
        page.wait_for_function(
            "n => document.querySelectorAll('.gentut-widget-area > *, .gentut-widget-note').length >= n", arg=len(views)
        )
        return page

    return load


def test_bytes_arrive_at_any_depth_and_in_both_encodings(load):
    raw = bytes(range(256)) * 3
    buffers = [
        {"path": ["raw"], "encoding": "base64", "data": base64.b64encode(raw).decode()},
        {"path": ["deep", "list", 1], "encoding": "hex", "data": "2a"},
    ]
    page = load({"a": widget(1, buffers=buffers, deep={"list": [0, None]})}, ["a"])
    echo = page.locator(".echo")
    assert bytes(echo.evaluate("e => e.bytes()")) == raw
    assert echo.evaluate("e => e.nested()") == 42
    assert echo.evaluate("e => getComputedStyle(e).color") == "rgb(1, 2, 3)"


def test_two_views_of_one_model_share_its_state_and_start_it_once(load):
    page = load({"a": widget([1, 2])}, ["a", "a"])
    first, second = page.locator(".echo").nth(0), page.locator(".echo").nth(1)
    assert second.evaluate("e => e.started()") == 1
    first.evaluate("e => e.set([3, 4])")
    assert (first.inner_text(), second.inner_text()) == ("[3,4]", "[3,4]")
    first.evaluate("e => { e.stop(); e.set([5]); }")
    assert (first.inner_text(), second.inner_text()) == ("[3,4]", "[5]")


def test_a_value_set_again_wakes_nobody(load):
    echo = load({"a": widget({"z": [1.5, 2]})}, ["a"]).locator(".echo")
    echo.evaluate("e => { e.set({ z: [1.5, 2] }); }")
    assert echo.evaluate("e => e.count") == 0
    echo.evaluate("e => { e.set({ z: [1.5, 2.5] }); }")
    assert echo.evaluate("e => e.count") == 1


def test_a_link_works_both_ways_and_a_directional_one_does_not(load):
    models = {
        "a": widget(1),
        "b": widget(2),
        "c": widget(3),
        "ab": link("LinkModel", "a", "b"),
        "bc": link("DirectionalLinkModel", "b", "c"),
    }
    page = load(models, ["a", "b", "c"])
    values = page.locator(".echo")
    assert values.all_inner_texts() == ["1", "1", "1"]
    values.nth(1).evaluate("e => e.set(7)")
    assert values.all_inner_texts() == ["7", "7", "7"]
    values.nth(2).evaluate("e => e.set(9)")
    assert values.all_inner_texts() == ["7", "7", "9"]


def test_a_widget_finds_another_one(load):
    page = load({"a": widget(1, friend="IPY_MODEL_b"), "b": widget("found")}, ["a"])
    assert page.locator(".echo").evaluate("e => e.other()") == "found"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (widget(1, "export default { render() { throw new Error('out of ink'); } };"), "could not start: out of ink"),
        (widget(1, "export default {"), "could not start"),
        (widget(1, "export const render = 1;"), "its module has no default export"),
        ({"model_name": "IntSliderModel", "state": {}}, "needs a kernel"),
    ],
)
def test_a_widget_that_cannot_live_says_so_and_leaves_the_next_one_alone(load, model, text):
    page = load({"bad": model, "good": widget("alive")}, ["bad", "good"])
    assert text in page.locator(".gentut-widget-note").inner_text()
    assert page.locator(".echo").inner_text() == '"alive"'
    if model["model_name"] == "AnyModel":
        assert len(page.watch.console) == 1, "the reason stands in the console too"
    page.watch.clear()
