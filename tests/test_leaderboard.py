"""The leaderboard says what the cards and records say, leaves out what is of other weights, and types nothing."""

import importlib.util
import json
import re
import statistics
import sys
from pathlib import Path

import pytest
import torch

from gentut import Error, checkpoints, data, ddpm, figures, gan, leaderboard, metrics, pixelcnn, runs, vae

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RECORDS = {name: json.loads((RESULTS / f"{name}-cpu.json").read_text()) for name in ("sampling", "seeds")}
NAMES = [n for n in checkpoints.names() if n != "classifier"]


def record(monkeypatch, **records):
    """Let checkpoints.measured find these records, and none beside them."""
    def measured(name):
        if name not in records:
            raise Error(f"no {name}")
        return records[name]
    monkeypatch.setattr(checkpoints, "measured", measured)


def column(table, heading):
    """name → value of one column."""
    i = table.headings.index(heading)
    return {row[0]: row[i] for row in table.rows}


# --------------------------------------------------------------------------------------------------- what it is made of


def test_every_network_that_draws_is_there_once_grouped_and_sorted():
    found = leaderboard.entries()
    assert sorted(e.name for e in found) == NAMES
    places = [leaderboard.MODELLED.index(e.modelled) for e in found]
    assert places == sorted(places) and set(places) == {0, 1, 2, 3}
    for one in leaderboard.MODELLED[:3]:
        nats = [e.nats for e in found if e.modelled == one]
        assert nats == sorted(nats) and nats
    assert leaderboard.entry("vae-2d") == next(e for e in found if e.name == "vae-2d")
    with pytest.raises(Error, match="unknown network 'vae-2'.*Did you mean 'vae-2"):
        leaderboard.entry("vae-2")


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_those_of_the_card(name):
    card, table = checkpoints.card(name), leaderboard.table()
    test = card["metrics"]["test"]
    row = dict(zip(table.headings[:8], next(r for r in table.rows if r[0] == name), strict=False))
    pictures = test.get("pictures", "")
    kind = ("256 greys" if "256 greys" in pictures else "black and white" if "binarised" in pictures else "grey")
    for one in ("256 greys", "black and white", "grey"):
        assert row[one] == (test["nats"] if "nats" in test and one == kind else None)
    assert row["its floor"] == (test["floor"] if "nats" in test and kind == "grey" else None)
    if kind == "grey":  # grey values in a cross-entropy are no probabilities: no bits
        assert row["bits/dim"] is None and row["what it is"] in ("no likelihood", "reconstruction alone", None)
    else:
        assert row["bits/dim"] == pytest.approx(metrics.nats_to_bits_per_dim(test["nats"]))
        assert row["what it is"] == ("exact" if card["family"] == "pixelcnn" else "bound")
    assert column(table, "weights")[name] == card["parameters"] and column(table, "on")[name] == card["device"]
    assert column(table, "training, s")[name] == round(card["seconds"])
    if "ratio" in test:
        assert all(column(table, k)[name] == test[v] for k, v in
                   (("Fréchet", "frechet"), ("precision", "precision"), ("recall", "recall")))


def test_only_the_plain_autoencoder_is_a_reconstruction_alone():
    assert [e.name for e in leaderboard.entries() if e.meaning == "reconstruction alone"] == ["ae-2d"]
    assert [e.name for e in leaderboard.entries() if e.tighter] == ["vae-20d-binary"]


def test_a_number_on_a_card_is_a_number_in_the_table(tmp_path, monkeypatch):
    facts = checkpoints.card("vae-2d")
    facts["metrics"]["test"]["nats"] = 98.25
    checkpoints.write_card(facts, tmp_path / "vae-2d.json")
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    assert column(leaderboard.table(), "grey") == {"vae-2d": 98.25}
    assert " 98.2 " in leaderboard.likelihoods().markdown()
    assert leaderboard.entry("vae-2d").headline == "98.2 nats"
    with pytest.raises(Error, match="unknown thing modelled 'colours'"):
        leaderboard.likelihoods("colours")


def test_without_records_the_table_has_dashes_and_no_error(monkeypatch):
    record(monkeypatch)
    table = leaderboard.table()
    assert set(column(table, "s per 1,000").values()) == {None} and set(column(table, "n").values()) == {1}
    likeness = column(table, "Fréchet")
    assert {name for name, value in likeness.items() if value} == {"dcgan", "ddpm-mnist", "ddpm-page"}
    assert leaderboard.seeds().rows == [] and leaderboard.real_black_and_white() == {}
    with pytest.raises(Error, match="nothing was timed on cpu: python benchmarks/sampling.py"):
        leaderboard.machine()


def test_a_record_of_other_weights_or_settings_is_left_out(monkeypatch):
    card = checkpoints.card("vae-2d")
    like = {k: 2.0 for k in leaderboard.NUMBERS}
    row = {"sha256": card["sha256"], "seconds_per_1000": 7.5, "calls": 1, "clock": "cpu", "likeness": like}
    other = {"seed": 1, "metrics": {"test": {"nats": 100.0}, "likeness": {**like, "ratio": 4.0}}, "seconds": 3.0}
    timed = {"machine": {"cpu": "a chip", "threads": 2}, "networks": {"vae-2d": row}}
    trained = {"networks": {"vae-2d": {"config": card["config"], "rows": [other]}}}
    record(monkeypatch, **{"sampling-cpu": timed, "seeds-cpu": trained})
    entry = leaderboard.entry("vae-2d")
    assert entry.sampling["seconds_per_1000"] == 7.5 and entry.likeness == like and entry.seeds == 2
    nats = [card["metrics"]["test"]["nats"], 100.0]
    assert entry.spread("nats") == leaderboard.Spread(2, statistics.mean(nats), statistics.stdev(nats))
    assert entry.spread("ratio") == leaderboard.Spread(2, 3.0, statistics.stdev([2.0, 4.0]))
    assert entry.spread("ratio").text(1) == "3.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.4"
    assert entry.spread("colour") is None
    assert entry.headline.replace("\N{NO-BREAK SPACE}", " ") == (
        f"{statistics.mean(nats):.1f} ± {statistics.stdev(nats):.1f} nats")
    assert leaderboard.machine() == "a chip, 2 threads; fp32; processor time"
    assert [r[:2] for r in leaderboard.seeds().rows] == [["vae-2d", 0], ["vae-2d", 1]]

    record(monkeypatch, **{"sampling-cpu": {**timed, "networks": {"vae-2d": {**row, "sha256": "0" * 64}}},
                           "seeds-cpu": {"networks": {"vae-2d": {"config": {"seed": 0}, "rows": [other]}}}})
    entry = leaderboard.entry("vae-2d")
    assert entry.sampling == entry.likeness == {} and entry.seeds == 1
    assert entry.spread("nats").deviation is None and "±" not in entry.headline


def test_black_and_white_pictures_are_judged_among_their_own_kind(monkeypatch):
    card = checkpoints.card("pixelcnn-binary")
    grey, own = ({k: value for k in leaderboard.NUMBERS} for value in (9.0, 3.0))
    row = {"sha256": card["sha256"], "likeness": grey, "likeness_black_and_white": own}
    record(monkeypatch, **{"sampling-cpu": {"networks": {"pixelcnn-binary": row}, "real_black_and_white": grey}})
    assert leaderboard.entry("pixelcnn-binary").likeness == own
    table = leaderboard.likeness()
    assert column(table, "against digits")["pixelcnn-binary"] == "black and white"
    assert column(table, "ratio")["pixelcnn-binary"] == 3.0 and column(table, "calls")["pixelcnn-binary"] is None
    assert column(table, "against digits")["real digits, black and white"] == "grey"
    ratios = [r[table.headings.index("ratio")] for r in table.rows]
    assert ratios == sorted(ratios)


@pytest.mark.parametrize("make", [leaderboard.table, leaderboard.likelihoods, leaderboard.likeness, leaderboard.costs,
                                  leaderboard.seeds])
def test_every_table_can_be_read_in_three_ways(make):
    table = make()
    web, text, markdown = table._repr_html_(), repr(table), table.markdown()
    for row in table.rows:
        assert row[0] in web and row[0] in text and f"| {row[0]} |" in markdown
    assert len(set(line.count(" | ") for line in markdown.splitlines())) == 1
    assert "nan" not in text and "None" not in web + text + markdown
    assert len(text.splitlines()) == len(table.rows) + 2


def test_a_table_with_groups_and_digits_of_its_own():
    table = figures.Table(["name", "a", "b"], [["x|y", 1.25, 2.0], ["z", None, 3.0]], digits=[0, 2, 0],
                          groups=[("", 1), ("both & all", 2)])
    assert '<tr><td colspan="1"></td><th colspan="2" scope="colgroup"' in table._repr_html_()
    assert '<th scope="row" style="text-align: left; font-weight: normal; white-space: nowrap; position: sticky' in (
        table._repr_html_())
    assert "both &amp; all" in table._repr_html_() and ">1.25<" in table._repr_html_() and ">2<" in table._repr_html_()
    assert table.markdown() == "| name | a | b |\n| --- | --: | --: |\n| x\\|y | 1.25 | 2 |\n| z | – | 3 |"
    with pytest.raises(Error, match="the groups span 2 of 3 columns"):
        figures.Table(["name", "a", "b"], [], groups=[("all", 2)])
    with pytest.raises(Error, match="digits are needed for 3 columns, got 2"):
        figures.Table(["name", "a", "b"], [], digits=[1, 2])


# ----------------------------------------------------------------------------------------------- the records themselves


def test_the_record_of_sampling_is_whole_and_of_the_published_weights():
    rows = RECORDS["sampling"]["networks"]
    assert sorted(rows) == NAMES and RECORDS["sampling"]["machine"]["threads"] == 1
    for name, row in rows.items():
        card = checkpoints.card(name)
        assert row["sha256"] == card["sha256"] and row["precision_of_arithmetic"] == "fp32", name
        assert row["seconds_per_1000"] == pytest.approx(statistics.median(row["batch_seconds"]), abs=1e-3)
        assert row["batch"] == 1000 and row["clock"] == "cpu" and row["calls"] >= 1
        measured_here = card["data"] == "mnist" and card["family"] in ("pixelcnn", "vae")
        black_and_white = measured_here and leaderboard.entry(name).modelled == leaderboard.BLACK_AND_WHITE
        for key, wanted in (("likeness", measured_here), ("likeness_black_and_white", black_and_white)):
            assert (key in row) == wanted, name
            if wanted:
                assert row[key]["n"] == 10_000 and row[key]["seed"] == 0
                assert row[key]["ratio"] == row[key]["frechet"] / row[key]["floor"]
    for name in ("ddpm-page", "ddpm-mnist"):
        assert rows[name]["calls"] == checkpoints.card(name)["metrics"]["test"]["evaluations"]


def test_the_record_of_seeds_is_of_the_published_settings():
    networks = RECORDS["seeds"]["networks"]
    assert {"dcgan", "vae-notes-100", "vae-notes-20"} <= networks.keys() <= set(NAMES)
    for name, found in networks.items():
        card = checkpoints.card(name)
        assert found["config"] == card["config"], name
        seeds = [row["seed"] for row in found["rows"]]
        assert seeds == sorted(set(seeds)) and card["seed"] not in seeds and seeds
        for row in found["rows"]:
            test = row["metrics"]["test"]
            assert row["steps"] == card["steps"] and row["seconds"] > 0 and row["precision"] == card["precision"]
            assert test["n"] == card["metrics"]["test"]["n"] == 10_000 and test["seed"] == 0
            assert test.get("pictures") == card["metrics"]["test"].get("pictures")
            assert checkpoints.headline(row)[1] != checkpoints.headline(card)[1]  # another run indeed


def test_what_the_results_page_says_of_the_table_is_true():
    found = {e.name: e for e in leaderboard.entries()}
    real = leaderboard.real_black_and_white()
    for name in ("dcgan", "ddpm-page", "ddpm-mnist"):  # "real digits lose, by far"
        assert real["ratio"] > 3 * found[name].likeness["ratio"]
    vaes = [e for e in found.values() if e.card["family"] == "vae" and e.modelled == leaderboard.GREY]
    for e in vaes:  # "nearly every picture looks like a digit, but hardly any real digit lies among them"
        assert (e.likeness["recall"] < 0.05 < 0.8 < e.likeness["precision"]) == (e.card["config"]["latent"] == 2)
    grey = found["pixelcnn-grey"].likeness
    assert grey["precision"] < 0.5 < 0.8 < grey["recall"]  # "most of its pictures look like no real digit"
    binary, pixels = found["vae-20d-binary"], found["pixelcnn-binary"]
    assert binary.nats > binary.tighter[0] > pixels.nats  # "a part of the gap closes"
    quick = found["vae-2d"].sampling["seconds_per_1000"]
    gan_seconds = found["dcgan"].sampling["seconds_per_1000"]
    slow = [e.sampling["seconds_per_1000"] for e in found.values() if e.card["family"] in ("ddpm", "pixelcnn")]
    assert quick < gan_seconds < min(slow)  # "a diffusion model and a PixelCNN take their time"
    assert found["ae-2d"].nats < found["vae-2d"].nats  # "may look better than a VAE of the same size"
    assert found["ae-2d"].card["parameters"] == found["vae-2d"].card["parameters"]
    assert all(e.card["seed"] == 0 for e in found.values())
    game, other = found["dcgan"].spread("ratio"), found["ddpm-mnist"].likeness["ratio"]
    assert found["dcgan"].likeness["ratio"] < other < game.mean + game.deviation  # by one run, and by the mean of all


# ----------------------------------------------------------------------------------------------- what makes the records


@pytest.fixture(scope="module")
def benchmarks():
    """The two benchmarks as modules, loaded from their files."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        made = {}
        for name in ("sampling", "seeds"):
            spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
            made[name] = importlib.util.module_from_spec(spec)
            sys.modules[name] = made[name]  # seeds.py imports sampling
            spec.loader.exec_module(made[name])
        yield made
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in ("sampling", "seeds"):
            sys.modules.pop(name, None)


def tiny(family):
    """(model, card) of an untrained network."""
    chapter, config = {
        "vae": (vae, vae.Config(encoder=(8,), decoder=(6,), binary=True)),
        "pixelcnn": (pixelcnn, pixelcnn.Config(size=8, width=2, head=2, dilations=(1,), classes=10)),
        "gan": (gan, gan.Config(latent=3, generator=(4, 4, 4), discriminator=(2, 2, 2))),
        "ddpm": (ddpm, ddpm.Config(widths=(2, 2), embedding=4, measure_steps=3, measure_guidance=1.0)),
    }[family]
    test = {"ratio": 1.0} if family in ("gan", "ddpm") else {"nats": 1.0}
    return chapter.build(config).eval(), {
        "family": family, "sha256": "0" * 64, "data": "mnist", "metrics": {"test": test}, "config": config.to_dict()}


@pytest.mark.parametrize(("family", "calls"), [("vae", 1), ("pixelcnn", 64), ("gan", 1), ("ddpm", 6)])
def test_drawing_is_timed_and_judged_where_no_card_does(benchmarks, monkeypatch, family, calls):
    sampling = benchmarks["sampling"]
    model, facts = tiny(family)
    drawn = []
    monkeypatch.setattr(metrics, "likeness", lambda pictures: drawn.append(pictures) or dict.fromkeys(
        (*sampling.NUMBERS, "shares", "reference"), 1.0))
    monkeypatch.setattr(sampling, "black_and_white", lambda pictures: drawn.append(pictures) or {"ratio": 2.0})
    row = sampling.measured(model, facts, timed=2, n=12, batch=4)
    judged = family in ("vae", "pixelcnn")
    assert len(row["batch_seconds"]) == (3 if judged else 2) and min(row["batch_seconds"]) >= 0
    assert row["seconds_per_1000"] == pytest.approx(250 * statistics.median(row["batch_seconds"]), abs=0.02)
    assert row["calls"] == calls and row["clock"] == ("cpu" if torch.get_num_threads() == 1 else "wall")
    assert ("likeness" in row) == ("likeness_black_and_white" in row) == judged
    if judged:
        first, second = drawn
        assert first.shape == second.shape and len(first) == 12 and ((second == 0) | (second == 1)).all()
        assert len({bytes(p.numpy()) for p in first}) == 12  # each batch draws anew
        again, _ = sampling.drawn(model, family, 3, 4)
        assert torch.equal(again, first)


def test_black_and_white_digits_are_their_own_floor(benchmarks, monkeypatch):
    sampling = benchmarks["sampling"]
    mini = data.load("mnist-mini")
    few = type(mini)(**{**vars(mini), "train_images": mini.train_images[:300], "test_images": mini.test_images[:200]})
    monkeypatch.setattr(data, "load", lambda name: few)
    real = data.binarise(few.test_images)
    sampling.black_and_white_digits.cache_clear()
    try:
        found = sampling.black_and_white(real, "mnist-mini")
        assert found["ratio"] == pytest.approx(1, rel=1e-6) and found["precision"] == found["recall"] == 1
        grey = sampling.black_and_white(data.to_unit(few.test_images), "mnist-mini")
        assert grey["ratio"] > 1.2 and grey["n"] == 200  # grey ones are of another kind
        with pytest.raises(Error, match="the floor is that of 200 test digits: draw as many pictures, not 100"):
            sampling.black_and_white(real[:100], "mnist-mini")
    finally:
        sampling.black_and_white_digits.cache_clear()


def test_sampling_keeps_what_is_measured_and_measures_what_is_new(benchmarks, monkeypatch, tmp_path, capsys):
    sampling, asked = benchmarks["sampling"], []

    def measured(model, facts, timed):
        asked.append(facts["sha256"])
        return {"sha256": facts["sha256"], "seconds_per_1000": 2.0, "clock": "cpu", "likeness": {"ratio": 3.0}}

    monkeypatch.setattr(sampling, "measured", measured)
    monkeypatch.setattr(sampling, "real_black_and_white", lambda: {"ratio": 85.0})
    out = tmp_path / "record.json"
    words = ["--networks", "vae-2d", "ae-2d", "--device", "cpu", "--out", str(out)]
    sampling.main(words)
    assert asked == [checkpoints.card(n)["sha256"] for n in ("vae-2d", "ae-2d")]
    written = json.loads(out.read_text())
    assert list(written["networks"]) == ["ae-2d", "vae-2d"] and written["real_black_and_white"] == {"ratio": 85.0}
    assert {"cpu", "threads"} <= written["machine"].keys() and "gentut" in written["versions"]
    assert re.search(r"vae-2d +2.000 s for 1,000 pictures \(cpu time\), Fréchet ratio 3.00", capsys.readouterr().out)
    sampling.main(words)
    assert len(asked) == 2
    written["networks"]["vae-2d"]["sha256"] = "0" * 64
    out.write_text(json.dumps(written))
    sampling.main(words)
    assert len(asked) == 3 and json.loads(out.read_text())["networks"]["vae-2d"]["sha256"] == asked[0]
    for wrong in (["--networks", "classifier"], ["--timed", "0"]):
        with pytest.raises(SystemExit):
            sampling.main([*wrong, "--device", "cpu"])


def test_a_seed_is_trained_measured_once_and_kept(benchmarks, monkeypatch, tmp_path, capsys):
    seeds = benchmarks["seeds"]
    config = vae.Config(data="mnist-mini", encoder=(8,), decoder=(8,), steps=6)
    folder = tmp_path / "published"
    folder.mkdir()
    facts = {"family": "vae", "config": config.to_dict(), "seed": 0, "metrics": {"test": {"nats": 1.0}}}
    checkpoints.save(vae.build(config), facts, folder / "small.safetensors")
    monkeypatch.setattr(checkpoints, "FOLDER", folder)
    monkeypatch.setattr(vae, "PUBLISHED", {"small": config})
    out = tmp_path / "record.json"
    words = ["small", "--device", "cpu", "--runs", str(tmp_path / "runs"), "--out", str(out)]
    seeds.main([*words, "--seeds", "2", "1"])
    found = json.loads(out.read_text())["networks"]["small"]
    assert [row["seed"] for row in found["rows"]] == [1, 2] and found["config"] == config.to_dict()
    one, two = (row["metrics"]["test"]["nats"] for row in found["rows"])
    assert one != two and "small, seed 1: nats" in capsys.readouterr().out
    run = vae.train(config.replace(seed=1), device="cpu")
    assert one == vae.evaluate(checkpoints.half_(run.model), "mnist-mini")["nats"]  # of the rounded weights
    monkeypatch.setattr(seeds, "row", None)  # nothing is trained twice
    seeds.main([*words, "--seeds", "1", "2"])
    with pytest.raises(SystemExit):
        seeds.main([*words, "--seeds", "0"])
    changed = {**checkpoints.card(folder / "small.safetensors")}
    changed["config"] = {**changed["config"], "steps": 7}
    assert seeds.known(out, "small", changed["config"])["rows"] == []  # other settings, other networks
    assert runs.read_json(out)["benchmark"] == "seeds"
