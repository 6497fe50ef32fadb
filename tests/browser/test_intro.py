"""The concept map of the first page: its links lie on the boxes, on a desk and on a phone, and keys reach them."""

import pytest

# For each link of the map: what is found at the middle of the place where the picture has its box.
AT_THE_BOXES = """() => {
  const picture = document.querySelector('img[src$="map.svg"]').getBoundingClientRect();
  const overlay = document.querySelector("article svg[viewBox]");
  const width = overlay.viewBox.baseVal.width, height = overlay.viewBox.baseVal.height;
  return [...overlay.querySelectorAll("a")].map((link) => {
    const box = link.querySelector("rect");
    const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(box.getAttribute(name)));
    link.scrollIntoView({block: "center", behavior: "instant"});
    const now = document.querySelector('img[src$="map.svg"]').getBoundingClientRect();
    const at = [now.left + (x + w / 2) / width * now.width, now.top + (y + h / 2) / height * now.height];
    const drawn = link.getBoundingClientRect();
    return {
      href: link.getAttribute("href"),
      hit: link.contains(document.elementFromPoint(...at)),
      finger: Math.min(drawn.width, drawn.height),
      ratio: now.width / now.height / (width / height),
      shown: picture.width,
    };
  });
}"""


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_every_box_of_the_concept_map_is_a_link_where_it_is_drawn(stages, site, device):
    page = stages.page(f"{site.url}/book/intro.html", device)
    picture = page.locator('img[src$="map.svg"]')
    picture.scroll_into_view_if_needed()
    picture.evaluate("picture => picture.decode()")
    found = page.evaluate(AT_THE_BOXES)
    assert len(found) >= 9
    for link in found:
        assert link["hit"], f"{link['href']} does not lie on its box"
        assert link["finger"] >= 24 and link["shown"] > 300
        assert link["ratio"] == pytest.approx(1, abs=0.01)
        assert (site.folder / "book" / link["href"]).is_file()


def test_the_concept_map_is_walked_by_keyboard(stages, site):
    page = stages.page(f"{site.url}/book/intro.html")
    chart = page.locator("article div:has(> svg a)")
    page.locator("article svg a").first.focus()
    for number in range(2, 10):
        before = chart.screenshot()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(f"Chapter {number}:")
        assert chart.screenshot() != before, "the ring around the link is seen"
