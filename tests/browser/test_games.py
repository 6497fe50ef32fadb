"""The GAN chapter's games on their page (book/gan.html): mouse, keys and finger, against the records and torch."""

import base64
import re

import numpy as np
import pytest
import torch

from gentut import games
from tests.browser.hands import Widget, brightness, saved_states, usual
from tests.javascript import call

WORDS = "text, dt, dd, .gt-title, .gt-rules, .gt-mind-name, .gt-swatch, .gt-legend-row .gt-muted, button, output"


class Replay(Widget):
    """GanReplay on its page."""

    path, name = "book/gan.html", "gan-replay"

    def show(self, first, second=""):
        """Choose the games to be shown by their names."""
        self.root.get_by_label("First game").select_option(first)
        self.root.get_by_label("Second game").select_option(second)
        self.settle()

    @property
    def reel(self):
        """The slider of steps."""
        return self.part("reel").locator("input")

    def path_of(self, selector, chart=0):
        """Points of a curve in pixels, (n, 2), of one of the charts of the left game."""
        line = self.part("game").first.locator("svg").nth(chart).locator(f"path.{selector}").get_attribute("d")
        return np.array([[float(v) for v in p.split()] for p in re.split("[ML]", line) if p])


class Stored:
    """The stored state of the widget, read by numpy and not by the page's code."""

    def __init__(self, state):
        self.state, self.raw = state, state["raw"]
        self.records = {r["name"]: r for r in state["records"]}

    def names(self, dim):
        return [name for name, r in self.records.items() if r["dim"] == dim]

    def array(self, name, key, *shape, kind="<f2"):
        """An array of a record."""
        count = int(np.prod(shape))
        return np.frombuffer(self.raw, kind, count, self.records[name]["at"][key]).astype("f8").reshape(shape)

    def frame(self, name, step):
        """Numbers of the last frame up to a step, as the page shows them."""
        r = self.records[name]
        i = int((np.array(r["steps"]) <= step).sum()) - 1
        frames, m, dim = len(r["steps"]), r["count"], r["dim"]
        numbers = {key: values[i] for key, values in r["curves"].items()}
        numbers |= {"push": r["push"][i], "step": r["steps"][i]}
        points = r["side"] ** dim
        arrays = {"samples": (m, dim), "arrows": (r["arrows"], dim), "scores": (points,)}
        if "density" in r["at"]:
            arrays["density"] = (points,)
        return numbers | {key: self.array(name, key, frames, *shape)[i] for key, shape in arrays.items()}

    def target(self, name):
        given = self.records[name]["target"]
        return games.Mixture(**{k: torch.tensor(v, dtype=torch.float64) for k, v in given.items()})


@pytest.fixture
def widget(open_widget):
    return open_widget(Replay)


@pytest.fixture(scope="module")
def stored(stages, site):
    """The stored state: it stays as it is, whatever a test does with the widget."""
    states = saved_states(stages.page(f"{site.url}/{Replay.path}", use="widgets"))
    return Stored(next(s for s in states if "live" in s and "records" in s))


def check(widget, stored, step, left, right=None):
    """What the page shows of one or two games at a step is what their records hold there."""
    now = widget.data()
    assert now["view"] == "replay"
    for side, name in (("left", left), ("right", right)):
        if name is None:
            assert not [key for key in now if key.startswith(side)]
            continue
        want = stored.frame(name, step)
        assert now[f"{side}-name"] == name
        assert now.numbers(f"{side}-losses") == [want["discriminator_loss"], want["generator_loss"]]
        for key in ("step", "right", "push", "distance", "modes", "near"):
            if key in want:
                assert now.number(f"{side}-{key}") == want[key], key
        assert now.numbers(f"{side}-centre") == pytest.approx(want["samples"].mean(0), abs=1e-9)
        if stored.records[name]["dim"] == 2:
            found, near = games.modes_found(torch.from_numpy(want["samples"]), stored.target(name))
            assert abs(found - want["modes"]) <= 1, "float16 moves few samples over an edge"
            assert near == pytest.approx(want["near"], abs=0.02)
        else:
            distance = games.earth_movers_distance(torch.from_numpy(want["samples"]), stored.target(name))
            assert distance == pytest.approx(want["distance"], abs=2e-3)


# ---------------------------------------------------------------------------------------------------- the stored games


def test_it_opens_as_its_constructor_says(widget, stored):
    shown = stored.state["shown"]
    check(widget, stored, stored.state["step"], *shown)
    assert len(stored.raw) <= 700_000
    assert stored.names(1) and stored.names(2)


@pytest.mark.parametrize("dim", [1, 2])
def test_the_slider_leads_through_both_games(widget, stored, dim):
    left, right = stored.names(dim)[:2]
    widget.show(left, right)
    steps = sorted({*stored.records[left]["steps"], *stored.records[right]["steps"]})
    for key, at in [("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("End", -1), ("ArrowLeft", -2)]:
        widget.keys(widget.reel, key)
        check(widget, stored, steps[at], left, right)
    box = widget.reel.bounding_box()
    widget.page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + box["height"] / 2)
    widget.settle()
    middle = int(widget.number("left-step"))
    assert 0 < steps.index(middle) < len(steps) - 1
    check(widget, stored, middle, left, right)


def test_games_can_be_mixed_or_shown_alone(widget, stored):
    line, plane = stored.names(1)[0], stored.names(2)[0]
    step = stored.state["step"]
    widget.show(plane, line)
    check(widget, stored, step, plane, line)
    widget.show(line)
    check(widget, stored, step, line)
    assert widget.part("game").nth(1).is_hidden()
    widget.show(plane, plane)
    check(widget, stored, step, plane, plane)


@pytest.mark.parametrize("place", ["Home", "End"])
def test_the_curves_on_the_line_are_the_densities_and_d(widget, stored, place):
    """Both densities and both discriminators, read back from the drawing."""
    name = stored.names(1)[0]
    widget.show(name)
    widget.keys(widget.reel, place)
    if place == "Home":
        widget.keys(widget.reel, *["ArrowRight"] * 12)  # at the very start all mass lies in a cell or two
    record, want = stored.records[name], stored.frame(name, widget.number("left-step"))
    x = np.linspace(record["low"][0], record["high"][0], record["side"])
    p = stored.target(name).log_density(torch.from_numpy(x)).exp().numpy()
    drawn_p, drawn_q = widget.path_of("gt-curve.gt-p"), widget.path_of("gt-curve.gt-q")
    floor = drawn_p[:, 1].max()
    scale = (floor - drawn_p[:, 1]).max() / p.max()  # pixels of density 1
    np.testing.assert_allclose((floor - drawn_p[:, 1]) / scale, p, atol=0.02)
    top = 1.5 * 1.9 * p.max()  # higher peaks are cut above the chart
    np.testing.assert_allclose((floor - drawn_q[:, 1]) / scale, np.minimum(want["density"], top), atol=0.03)
    assert want["density"].max() > 0.2

    lines = widget.part("game").first.locator("svg").nth(1).locator(".gt-grid").evaluate_all(
        "lines => lines.map(e => Number(e.getAttribute('y1')))"
    )
    zero, one = max(lines), min(lines)
    d = widget.path_of("gt-curve:not(.gt-truth)", chart=1)
    np.testing.assert_allclose((zero - d[:, 1]) / (zero - one), 1 / (1 + np.exp(-want["scores"])), atol=0.01)
    best = widget.path_of("gt-curve.gt-truth", chart=1)
    assert len(best) > 20
    column = np.rint((best[:, 0] - d[0, 0]) / (d[-1, 0] - d[0, 0]) * (record["side"] - 1)).astype(int)
    np.testing.assert_allclose((zero - best[:, 1]) / (zero - one), (p / (p + want["density"]))[column], atol=0.01)


def test_the_plane_shows_samples_and_the_discriminators_opinion(widget, stored):
    """Samples are orange dots where they belong; the ground leans to blue where D says real, to orange where not."""
    name = stored.names(2)[0]
    widget.show(name)
    record = stored.records[name]
    low, high, side = np.array(record["low"]), np.array(record["high"]), record["side"]
    steps = np.array(record["steps"])
    spread = [np.ptp(1 / (1 + np.exp(-stored.frame(name, s)["scores"]))) for s in steps]
    target = int(np.argmax(spread))  # a frame where D is far from undecided
    widget.keys(widget.reel, "Home", *["ArrowRight"] * target)
    want = stored.frame(name, steps[target])
    assert widget.number("left-step") == steps[target]
    height, width, text = widget.part("plane").first.evaluate("""canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), text = [];
      for (const value of data) text.push(String.fromCharCode(value));
      return [canvas.height, canvas.width, btoa(text.join(""))];
    }""")
    image = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4).astype(float)

    def at(points):
        """Pixels at points of the plane, (n, 4), and which of the points lie well inside of it."""
        share = (points - low) / (high - low)
        inside = ((share > 0.01) & (share < 0.99)).all(1)
        return image[((1 - share[inside, 1]) * height).astype(int), (share[inside, 0] * width).astype(int)], inside

    def orange(points):
        """Share of points at which the picture has a strong orange."""
        pixels, _ = at(points)
        return ((pixels[:, 3] > 220) & (pixels[:, 0] > pixels[:, 2] + 60)).mean()

    # Arrows lie over some dots; a little to the side hardly any dot is hit.
    assert orange(want["samples"]) > 0.5
    assert orange(want["samples"] + [0.13, 0.09]) < 0.5 * orange(want["samples"])

    grid = np.stack(np.meshgrid(*(np.linspace(a, b, side) for a, b in zip(low, high, strict=True))), -1).reshape(-1, 2)
    ground, inside = at(grid)
    lean = (2 / (1 + np.exp(-want["scores"])) - 1)[inside]
    points = np.concatenate([want["samples"], stored.array(name, "real", record["count"], 2)])
    free = (np.abs(grid[inside][:, None] - points).max(2) > 0.12).all(1)
    sure = free & (np.abs(lean) > 0.15)
    assert sure.sum() > 20
    blue = ground[sure, 2] > ground[sure, 0]
    assert ((lean[sure] > 0) == blue).mean() > 0.9
    np.testing.assert_allclose(ground[sure, 3], 105 * np.abs(lean[sure]), atol=40)


def test_play_goes_to_the_end_and_begins_again(widget, stored):
    name = stored.names(1)[0]
    steps = stored.records[name]["steps"]
    widget.show(name)
    widget.keys(widget.reel, "End", *["ArrowLeft"] * 3)
    widget.click("Play")
    widget.root.get_by_role("button", name="Play", exact=True).wait_for()  # it stops by itself
    check(widget, stored, steps[-1], name)
    widget.click("Play")
    widget.page.wait_for_function("e => +e.dataset.leftStep > 0 && +e.dataset.leftStep < 1000", arg=widget.node)
    widget.click("Pause")
    step = widget.number("left-step")
    assert 0 < step < steps[-1]
    widget.click("Next")
    check(widget, stored, steps[steps.index(step) + 1], name)


def test_a_click_on_the_losses_goes_there(widget, stored):
    name = stored.names(1)[0]
    widget.show(name)
    surface = widget.part("game").first.locator(".gt-pad-area")
    widget.page.mouse.click(*widget.at(surface, 0.25))
    widget.settle()
    step, steps = widget.number("left-step"), stored.records[name]["steps"]
    assert step in steps and abs(step - 0.25 * steps[-1]) <= np.diff(steps).max()
    check(widget, stored, step, name)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_frame_is_drawn_in_time(widget, stored, dim):
    widget.show(*stored.names(dim)[:2])
    widget.keys(widget.reel, "Home")
    moves = []
    for _ in range(24):
        widget.keys(widget.reel, "ArrowRight")
        moves.append(widget.data())
    assert usual(moves) <= 16


# ------------------------------------------------------------------------------------------------- training in the page


class Torchs:
    """The same game in torch, from the stored weights and on the page's own batches (by node)."""

    def __init__(self, stored, name):
        self.stored, self.record = stored, stored.records[name]
        rules, target = self.record["game"], stored.target(name)
        hidden = tuple(out for out, _ in rules["generator"][:-1])
        self.game = games.Game(
            dim=1, latent=rules["latent"], hidden=hidden, loss=rules["loss"], penalty=rules["penalty"],
            learning_rate=rules["rates"][0], discriminator_rate=rules["rates"][1] / rules["rates"][0],
            discriminator_steps=rules["moves"], beta1=rules["beta1"], beta2=rules["beta2"], batch_size=rules["batch"],
        )
        self.target, self.players = target, games.players(self.game)
        for network, key in zip(self.players, ("generator", "discriminator"), strict=True):
            sizes = [count for out, into in rules[key] for count in (out * into, out)]
            numbers = torch.from_numpy(stored.array(name, key, sum(sizes), kind="<f8"))
            for parameter, part in zip(network.parameters(), numbers.split(sizes), strict=True):
                parameter.data = part.view_as(parameter).clone()
        self.optimizers = games.optimizers(self.game, *self.players)
        self.z = torch.from_numpy(stored.array(name, "z", self.record["count"], rules["latent"], kind="<f4"))
        self.real = torch.from_numpy(stored.array(name, "real", self.record["count"], 1))
        low, high = self.record["low"][0], self.record["high"][0]
        self.grid = torch.linspace(low, high, self.record["side"], dtype=torch.float64)[:, None]

    def batches(self, asked, seed):
        """The page's draws in the order of the moves "d" and "g"."""
        n, latent, penalty = self.game.batch_size, self.game.latent, self.game.penalty
        code = """(() => {
          const draw = source(target, seed), some = (...arrays) => arrays.map(v => v && [...v]);
          const d = () => some(draw.x(n), draw.z(n * latent), penalty ? draw.u(n) : null);
          return asked.map(move => (move === "d" ? d() : [...draw.z(n * latent)]));
        })()"""
        given = {"target": self.record["target"], "seed": seed, "asked": asked}
        return call("games-maths.js", code, n=n, latent=latent, penalty=penalty, **given)

    def play(self, asked, seed=0):
        """Make the moves, then look."""
        for move, batch in zip(asked, self.batches(asked, seed), strict=True):
            if move == "d":
                x, z, u = (None if v is None else torch.tensor(v, dtype=torch.float64) for v in batch)
                z = z.view(-1, self.game.latent)
                games.discriminator_step(self.game, *self.players, self.optimizers[1], x[:, None], z, u)
            else:
                z = torch.tensor(batch, dtype=torch.float64).view(-1, self.game.latent)
                games.generator_step(self.game, *self.players, self.optimizers[0], z)
        return games.look(self.game, *self.players, self.target, self.z, self.real, self.grid)

    def both(self, times=1):
        """The moves of whole steps."""
        return (["d"] * self.game.discriminator_steps + ["g"]) * times


def check_training(widget, want, moves):
    """What the page shows of its training is torch's, to the last digits."""
    now = widget.data()
    assert now["view"] == "live"
    assert now.numbers("moves") == [moves.count("d"), moves.count("g")]
    losses = [want["discriminator_loss"].item(), want["generator_loss"].item()]
    assert now.numbers("left-losses") == pytest.approx(losses, rel=1e-9)
    np.testing.assert_allclose(now.numbers("scores"), want["scores"], rtol=1e-8, atol=1e-10)
    assert now.number("left-distance") == pytest.approx(want["distance"].item(), rel=1e-8)
    assert now.number("left-push") == pytest.approx(want["arrows"].abs().mean().item(), rel=1e-8)
    assert now.numbers("left-centre") == pytest.approx([want["samples"].mean().item()], rel=1e-8, abs=1e-10)
    assert now.number("left-right") == pytest.approx(want["right"].item(), abs=1e-12)


@pytest.fixture
def name(stored):
    return stored.names(1)[0]


@pytest.fixture
def training(widget, name):
    widget.show(name)
    widget.choose("train here")
    return widget


def test_steps_in_the_page_are_torchs(training, stored, name):
    other = Torchs(stored, name)
    check_training(training, Torchs(stored, name).play([]), [])
    asked = []
    whole = other.both()
    for button, moves in [("Step both", whole), *[("Step D", ["d"])] * 2, ("Step G", ["g"]), ("Step both", whole)]:
        training.click(button)
        asked += moves
        check_training(training, Torchs(stored, name).play(asked), asked)
    for _ in range(15):
        training.click("Step both")
    asked += other.both(15)
    check_training(training, other.play(asked), asked)


def test_it_runs_pauses_and_starts_again(training, stored, name):
    first = training.data()
    training.click("Run")
    training.page.wait_for_function("e => e.dataset.moves.split(' ')[1] >= 25", arg=training.node)
    training.click("Pause")
    moves = training.numbers("moves")
    training.page.wait_for_timeout(250)
    assert training.numbers("moves") == moves
    other = Torchs(stored, name)
    assert moves[0] == moves[1] * other.game.discriminator_steps
    if moves[1] <= 150:  # rounding grows with the steps
        want = other.play(other.both(int(moves[1])))
        assert training.numbers("left-losses") == pytest.approx(
            [want["discriminator_loss"].item(), want["generator_loss"].item()], rel=1e-5
        )
    training.click("Start again")
    again = training.data()
    assert {k: v for k, v in again.items() if k != "ms"} == {k: v for k, v in first.items() if k != "ms"}
    training.click("Step both")
    with_seed_0 = training.data()["left-losses"]
    training.click("Other draws")
    training.click("Step both")
    assert training.data()["left-losses"] != with_seed_0
    check_training(training, Torchs(stored, name).play(other.both(), seed=1), other.both())


def test_d_alone_comes_near_the_best_d(training, stored, name):
    """With G standing still the discriminator's loss falls, and so does its distance to p / (p + q)."""
    record = stored.records[name]
    for _ in range(6):
        training.click("Step both")
    x = np.linspace(record["low"][0], record["high"][0], record["side"])
    p = stored.target(name).log_density(torch.from_numpy(x)).exp().numpy()

    def off():
        now = training.data()
        q, d = np.array(now.numbers("density")), 1 / (1 + np.exp(-np.array(now.numbers("scores"))))
        weight = p + q
        return (weight * np.abs(d - p / np.maximum(weight, 1e-12))).sum() / weight.sum(), now.numbers("density")

    before, q = off()
    training.click("Run D only")
    training.page.wait_for_function("e => e.dataset.moves.split(' ')[0] >= 150", arg=training.node)
    training.click("Pause")
    after, q_after = off()
    assert q_after == q and training.numbers("moves")[1] == 6, "the generator stood still"
    assert after < 0.7 * before, (before, after)


def test_learning_rates_are_the_readers(training, stored, name):
    other = Torchs(stored, name)
    training.click("Step D")
    base = training.data()
    training.click("Start again")
    rate = training.part("rates").locator("input").nth(1)
    training.keys(rate, "End")
    assert rate.input_value() == "-1"
    training.click("Step D")
    other.optimizers[1].param_groups[0]["lr"] = 0.1
    check_training(training, other.play(["d"]), ["d"])
    assert training.data()["scores"] != base["scores"]


def test_leaving_and_coming_back(training, stored, name):
    training.click("Step both")
    training.choose("stored games")
    check(training, stored, stored.state["step"], name)
    training.choose("train here")
    assert training.numbers("moves") == [0, 0]


# ------------------------------------------------------------------------------------------ hands, themes and looks


def test_a_finger_scrubs_and_steps(open_widget, stored):
    widget = open_widget(Replay, "phone")
    left, right = stored.names(2)[:2]
    widget.show(left, right)
    surface = widget.part("game").first.locator(".gt-pad-area")
    widget.touch(widget.at(surface, 0.8), widget.at(surface, 0.5), widget.at(surface, 0.3))
    step, steps = widget.number("left-step"), stored.records[left]["steps"]
    assert abs(step - 0.3 * steps[-1]) <= 2 * np.diff(steps).max()
    check(widget, stored, step, left, right)
    widget.choose("train here")
    widget.root.get_by_role("button", name="Step G").tap()
    widget.settle()
    assert widget.numbers("moves") == [0, 1]


def test_readers_who_want_less_motion_get_a_calm_pace(open_widget, stored):
    widget = open_widget(Replay, motion="reduce")
    widget.show(stored.names(1)[0])
    widget.keys(widget.reel, "Home")
    assert 700 < widget.pace("step", widget.root.get_by_role("button", name="Play"), 3) < 3000
    widget.click("Pause")
    widget.choose("train here")
    assert 700 < widget.pace("moves", widget.root.get_by_role("button", name="Run", exact=True), 3) < 4000
    widget.click("Pause")


def test_screen_readers_hear_what_happens(widget, stored):
    left, right = stored.names(2)[:2]
    widget.show(left, right)
    widget.keys(widget.reel, "Home")
    said = widget.said("Step 0.")
    want = [stored.frame(name, 0)["modes"] for name in (left, right)]
    count = len(stored.records[left]["target"]["means"])
    assert said == f"Step 0. {left}: {want[0]:.0f} of {count} modes; {right}: {want[1]:.0f} of {count} modes"
    assert widget.reel.get_attribute("aria-valuetext") == "0"
    assert widget.nameless() == []
    widget.choose("train here")
    widget.click("Step D")
    widget.said("1 moves of D, 0 of G: distance")
    assert widget.nameless() == []


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_nothing_sticks_out_and_no_words_overlap(open_widget, stored, device):
    widget = open_widget(Replay, device)
    for dim in (1, 2):
        widget.show(*stored.names(dim)[:2])
        for key in ("Home", "End"):
            widget.keys(widget.reel, key)
            assert widget.sticks_out() == [], (dim, key)
            assert widget.overlaps(WORDS) == [], (dim, key)
    widget.choose("train here")
    widget.click("Step both")
    assert widget.sticks_out() == [] and widget.overlaps(WORDS) == []


def test_the_theme_changes_colours_and_never_values(widget, stored):
    widget.show(*stored.names(1)[:2])
    looks, values = [], []
    for _ in widget.in_both_themes():
        inks = widget.colours((".gt-curve.gt-q", "stroke"), (".gt-arrows", "stroke"), (".gt-tick", "fill"))
        looks.append([*widget.board(), *map(brightness, inks)])
        values.append({k: v for k, v in widget.data().items() if k != "ms"})
    assert values[0] == values[1]
    light, dark = looks
    assert light[0] > 0.9 and max(light[1:]) < light[0] - 0.4
    assert dark[0] < 0.2 and min(dark[1:]) > dark[0] + 0.4
