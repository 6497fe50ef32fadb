"""Training replays: recording changes nothing, what is stored is what was trained, and a damaged file is refused."""

import dataclasses
import importlib.util
import itertools
import time
from pathlib import Path

import pytest
import torch

from gentut import Error, data, ddpm, games, gan, metrics, replays, runs, training, vae
from tests.test_training import PICTURES, TINY, agree, equal, pictures, rows, weights

STORED = replays.names()
ROOT = Path(__file__).resolve().parents[1]


def meddle(step, model):
    """A look that does all that it must not do to the run."""
    torch.manual_seed(step)
    torch.rand(7)
    for p in model.parameters():
        p.zero_()


# ------------------------------------------------------------------------------------------------------------- the hook


GAME = gan.Config.preset("test").replace(steps=6, critic_steps=2, log_every=1, kind="mlp", generator=(16,),
                                         discriminator=(16,), spectral_norm=True)
CASES = {
    "vae": (vae, TINY.replace(steps=9, ema=0.9), {}),
    "gan": (gan, GAME, {}),
    "ddpm": (ddpm, ddpm.Config.preset("test").replace(steps=3, batch_size=8, widths=(4, 4), norm="batch"),
             {"labels": torch.arange(256) % 10}),
}


@pytest.mark.parametrize("family", CASES)
def test_looking_does_not_change_a_bit_and_shows_what_would_be_kept(family):
    chapter, config, more = CASES[family]
    seen, total = {}, config.steps

    def look(step, model):
        assert not model.training and not any(p.requires_grad for p in model.parameters())
        seen[step] = {k: v.clone() for k, v in model.state_dict().items()}
        meddle(step, model)

    torch.manual_seed(0)
    state = torch.get_rng_state()
    plain = chapter.train(config, images=PICTURES, device="cpu", **more)
    watched = chapter.train(config, images=PICTURES, device="cpu", watch=(range(0, total + 1, 3), look), **more)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(seen) == [*range(0, total + 1, 3)]
    assert equal(weights(plain), weights(watched)) and rows(plain.history) == rows(watched.history)
    assert equal(seen[total], weights(plain)), "at the last step it sees what the run keeps"
    short = chapter.train(config.replace(steps=3), images=PICTURES, device="cpu", **more)
    assert equal(seen[3], weights(short)), "in between, what a run that ends there keeps"
    assert equal(seen[0], chapter.build(config).state_dict()) or family == "ddpm"  # whose shares of labels come later


def test_a_folder_is_the_same_and_a_resumed_run_is_looked_at_from_there(tmp_path):
    config, seen = TINY.replace(steps=12, ema=0.9, save_every=4), []
    vae.train(config, images=PICTURES, device="cpu", out=tmp_path / "plain")

    def stop(step, model):
        seen.append(step)
        if step == 6 and len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vae.train(config, images=PICTURES, device="cpu", out=tmp_path / "run", watch=((0, 3, 6, 12), stop))
    vae.train(config, images=PICTURES, device="cpu", out=tmp_path / "run", resume=True, watch=((0, 3, 6, 12), stop))
    assert seen == [0, 3, 6, 6, 12]
    agree(tmp_path / "plain", tmp_path / "run")


def test_the_seconds_of_looking_do_not_count(monkeypatch):
    clock, late = time.perf_counter, []
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 10_000 * len(late))
    watch = (0, 1, 2), lambda step, model: late.append(step)
    run = vae.train(TINY.replace(steps=2, log_every=1), images=PICTURES, device="cpu", watch=watch)
    assert len(late) == 3 and 0 < run.seconds < 5000 and all(0 < row["seconds"] < 5000 for row in run.history)


@pytest.mark.parametrize("watch", [3, (1, 2, 3), ([0.5], meddle), ([-1], meddle), ([1], None), (None, meddle)])
def test_what_cannot_be_watched_is_refused(watch):
    with pytest.raises(Error, match=r"watch must be \("):
        training.fit(vae.build(TINY), TINY, vae.losses, PICTURES, device="cpu", watch=watch)


# ------------------------------------------------------------------------------------------------------------ recording


@pytest.mark.parametrize("total", [1, 2, 3, 10, 137, 6552])
def test_steps_are_close_together_at_first(total):
    steps = replays.schedule(total, 32)
    assert steps[0] == 0 and steps[-1] == total and len(steps) <= 32 and sorted(set(steps)) == steps
    ratios = [b / a for a, b in itertools.pairwise(steps) if a > 20]
    assert all(r < 1.6 for r in ratios)


@pytest.fixture(scope="module")
def recorded():
    """Two short runs of a tiny VAE, healthy and with a heavy KL term."""
    config = TINY.replace(encoder=(32,), decoder=(32,), steps=200, latent=3, log_every=1, learning_rate=1e-2)
    return {beta: replays.record("vae", config.replace(beta=beta), frames=6, n=40, images=PICTURES, device="cpu")
            for beta in (1.0, 200.0)}


def test_a_replay_holds_what_the_networks_of_its_steps_draw(recorded):
    replay = recorded[1.0]
    config = vae.Config().replace(**replay.about["config"])
    assert replay.steps.tolist() == replays.schedule(200, 6)
    for i in (1, -1):
        model = vae.train(config.replace(steps=replay.steps[i].item()), images=PICTURES, device="cpu").model
        z = torch.randn(replays.SHOWN, 3, generator=torch.Generator().manual_seed(0))
        drawn = model.decode(z).sigmoid()[:, 0].detach()
        assert (replay.pictures[i] / 255 - drawn).abs().max() <= 0.5 / 15 + 1e-6
        x = data.to_unit(data.load("mnist-mini").test_images[:40])
        assert replay.measured["active_units"][i] == vae.active_units(model, x).sum()
        mu, log_var = model.encode(x)
        kl = vae.kl_to_standard_normal(mu, log_var).mean(0)
        assert torch.allclose(replay.bars[i], kl, rtol=1e-4)
        assert replay.measured["kl"][i] == pytest.approx(kl.sum().item(), rel=1e-4)
    assert replay.about["n"] == 40 and replay.about["steps"] == 200 and replay.about["seed"] == config.seed
    assert replay.about["data_sha256"] == data.digest(PICTURES)


def test_curves_are_means_of_what_was_logged(recorded):
    replay = recorded[1.0]
    history = vae.train(vae.Config().replace(**replay.about["config"]), images=PICTURES, device="cpu").history
    steps, values = (torch.tensor([row[k] for row in history], dtype=torch.float64) for k in ("step", "kl"))
    assert replay.curve_steps[0] == 1 and replay.curves["kl"][0] == pytest.approx(history[0]["kl"])
    long = [{"step": s, "kl": float(s)} for s in range(1, 5001)]
    thin_steps, thin = replays.thinned(long, ["kl"])
    assert len(thin_steps) <= replays.POINTS and torch.equal(thin_steps, thin["kl"])
    assert thin_steps[0] == 1 and thin_steps[-1] > 4600 and (thin_steps.diff() > 0).all()
    assert values.min() <= replay.curves["kl"].min() and replay.curves["kl"].max() <= values.max()
    assert steps[-1] == 200


def test_games_and_diffusion_are_recorded_too():
    images, labels = pictures(128), torch.arange(128) % 10
    game = replays.record("gan", GAME, frames=3, n=70, images=images, device="cpu")
    assert game.bars.shape == (len(game.steps), 10) and torch.allclose(game.bars.sum(1), torch.ones(len(game.steps)))
    last = gan.train(GAME, images=images, device="cpu").model
    z = torch.randn(70, GAME.latent, generator=torch.Generator().manual_seed(0))
    want = metrics.likeness(gan.sample(last, 70, z=z))
    assert game.measured["ratio"][-1] == pytest.approx(want["ratio"], rel=1e-5)
    assert game.bars[-1].tolist() == pytest.approx(want["shares"])
    config = CASES["ddpm"][1].replace(data="mnist-mini", norm="group")
    painted = replays.record("ddpm", config, frames=3, n=20, images=images, labels=labels, device="cpu")
    assert painted.pictures.shape == (3, 20, 28, 28) and painted.bars.shape == (3, 10)
    assert painted.measured["as_asked"][-1] == pytest.approx(painted.bars[-1].mean().item())
    for family, wrong, message in [
        ("ddpm", config.replace(classes=0), "needs classes"),
        ("ddpm", config.replace(data="fashion-mnist"), "knows digits"),
        ("gan", GAME.replace(data="fashion-mnist"), "knows digits"),
        ("classifier", config, "unknown family"),
    ]:
        with pytest.raises(Error, match=message):
            replays.record(family, wrong, images=images, labels=labels, device="cpu")
    with pytest.raises(Error, match="n must be at least 20"):
        replays.record("gan", GAME, n=19, images=images, device="cpu")


def test_how_many_digits_the_shares_amount_to():
    assert replays.effective(torch.full((10,), 0.1)) == pytest.approx(10)
    assert replays.effective(torch.eye(10)[3]) == pytest.approx(1)
    assert replays.effective(torch.tensor([0.5, 0.5, 0.0])) == pytest.approx(2)


def test_a_heavy_kl_term_ends_in_collapse(recorded):
    """The symptom, at a size that takes a second: no unit is active, and all codes give one picture."""
    healthy, collapsed = (recorded[beta] for beta in (1.0, 200.0))
    assert collapsed.measured["kl"][-1] < 0.25 * healthy.measured["kl"][-1]
    spread = [r.pictures[-1].double().std(0).mean() for r in (healthy, collapsed)]
    assert spread[1] < 0.5 * spread[0]


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_file_gives_the_replay_back_to_the_bit(recorded, tmp_path):
    replay = recorded[1.0]
    size = replays.save(replay, tmp_path / "a.safetensors")
    assert size == (tmp_path / "a.safetensors").stat().st_size
    again = replays.load(tmp_path / "a.safetensors")
    for name in ("steps", "pictures", "bars", "curve_steps"):
        assert torch.equal(getattr(replay, name), getattr(again, name)), name
    assert equal(replay.measured, again.measured) and equal(replay.curves, again.curves)
    assert again.about == replay.about | {"config": again.about["config"]} and again.family == "vae"
    assert vae.Config().replace(**again.about["config"]) == vae.Config().replace(**replay.about["config"])


def test_a_wrong_bit_anywhere_is_noticed(recorded, tmp_path):
    path = tmp_path / "a.safetensors"
    replays.save(recorded[1.0], path)
    whole = path.read_bytes()
    g = torch.Generator().manual_seed(0)
    for at in [*range(0, 400, 23), *torch.randint(len(whole), (60,), generator=g).tolist()]:
        torn = bytearray(whole)
        torn[at] ^= 1 << at % 8
        path.write_bytes(torn)
        with pytest.raises(Error, match="is damaged"):
            replays.load(path)
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(Error, match="is damaged"):
            replays.load(path)
    path.write_bytes(runs.pack_state({"x": torch.zeros(2)}, {"step": 3}))
    with pytest.raises(Error, match="is no replay"):
        replays.load(path)
    with pytest.raises(Error, match="could not read"):
        replays.load(tmp_path / "absent.safetensors")
    with pytest.raises(Error, match="unknown replay 'vae-helthy'.*Did you mean 'vae-healthy'"):
        replays.load("vae-helthy")


def test_a_replay_that_does_not_fit_together_is_refused(recorded):
    replay = recorded[1.0]
    for change, message in [
        ({"family": "vea"}, "unknown family"),
        ({"pictures": replay.pictures[:-1]}, "one entry for each"),
        ({"pictures": replay.pictures.float()}, "pictures must be uint8"),
        ({"pictures": replay.pictures[..., :27]}, "pictures must be uint8"),
        ({"bars": replay.bars * float("nan")}, "must be finite"),
        ({"measured": {"kl": replay.measured["kl"][1:]}}, "one entry for each"),
        ({"curves": {"kl": torch.zeros(3)}}, "each curve must have"),
        ({"steps": replay.steps.flip(0)}, "must rise"),
    ]:
        with pytest.raises(Error, match=message):
            dataclasses.replace(replay, **change)


def test_the_command_that_makes_them_again(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("benchmark_of_replays", ROOT / "benchmarks" / "replays.py")
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    tiny = TINY.replace(steps=3, log_every=1)
    monkeypatch.setattr(replays, "RECIPES", {"a": ("vae", tiny), "b": ("vae", tiny.replace(seed=1))})
    monkeypatch.setattr(replays, "COUNTS", {"vae": 20})
    command.main(["b", "--out", str(tmp_path), "--device", "cpu"])
    assert [p.stem for p in tmp_path.iterdir()] == ["b"] and "b: 4 steps stored" in capsys.readouterr().out
    command.main(["--out", str(tmp_path), "--device", "cpu"])
    assert "b:" not in capsys.readouterr().out
    assert [replays.load(tmp_path / f"{name}.safetensors").about["seed"] for name in "ab"] == [0, 1]
    with pytest.raises(Error, match="unknown replay 'c'"):
        command.main(["c", "--out", str(tmp_path)])


def test_two_pixels_go_into_a_byte():
    g = torch.Generator().manual_seed(0)
    given = replays.quantise(torch.rand(3, 2, 28, 28, generator=g))
    assert given.unique().tolist() == [17 * k for k in range(16)]
    assert torch.equal(replays.unpacked(replays.packed(given)), given)
    assert replays.packed(given).shape == (3, 2, 392)


# ------------------------------------------------------------------------------------------------ those that are stored


@pytest.mark.parametrize("name", replays.RECIPES)
def test_what_is_stored_is_what_its_recipe_says(name):
    replay, (family, config) = replays.load(name), replays.recipe(name)
    assert (replays.FOLDER / f"{name}.safetensors").stat().st_size <= 300_000
    assert replay.family == family and 25 <= len(replay.steps) <= 40
    assert type(config)().replace(**replay.about["config"]) == config
    assert replay.about["steps"] == replay.steps[-1] == (config.steps or config.epochs * (60_000 // config.batch_size))
    assert replay.steps.tolist() == replays.schedule(replay.about["steps"])
    assert replay.about["data"] == "mnist" and replay.about["seconds"] > 0 and len(replay.about["data_sha256"]) == 64
    assert replay.pictures.shape[1] == replays.SHOWN and replay.about["n"] == replays.COUNTS[family]
    assert set(replay.measured) == set(replays.WATCHED[family].names)


def test_every_recipe_is_stored_and_nothing_else():
    assert sorted(replays.RECIPES) == STORED


def test_the_stored_vae_learns_and_the_other_collapses():
    healthy, collapsed = replays.load("vae-healthy"), replays.load("vae-collapsed")
    assert healthy.measured["active_units"][-1] == 20 and healthy.measured["kl"][-1] > 15
    assert collapsed.measured["active_units"][-1] == 0
    kl = collapsed.measured["kl"]
    assert kl.max() > 0.3 and kl[-1] < 0.02 and 0 < kl.argmax() < 20, "its KL rises, then dies"
    assert collapsed.pictures[-1].double().std(0).max() <= 17, "all codes give one picture, but for a grey level"
    assert healthy.pictures[-1].double().std(0).mean() > 30
    changed = {k for k, v in healthy.about["config"].items() if v != collapsed.about["config"][k]}
    assert changed == {"beta"}


def test_the_stored_games_end_well_and_in_collapse():
    healthy, collapsed = replays.load("gan-healthy"), replays.load("gan-collapsed")
    late = healthy.steps >= 200
    assert healthy.measured["digits"][-1] > 9 and healthy.measured["recall"][-1] > 0.5
    assert collapsed.measured["recall"].max() < 0.1, "whole kinds of digit are never drawn"
    assert collapsed.bars[late].max() > 0.85 and healthy.bars[late].max() < 0.5
    favourites = collapsed.bars[late].argmax(1)[collapsed.bars[late].max(1).values > 0.8]
    assert len(favourites.unique()) > 1, "and what is drawn for every z changes"
    for name, level in (("discriminator_loss", 4), ("generator_loss", 2)):
        off = (collapsed.curves[name] - torch.tensor(float(level)).log()).abs()
        assert off.median() < 0.1, "its losses look like those of a game that has ended well"
    changed = {k for k, v in healthy.about["config"].items() if v != collapsed.about["config"][k]}
    assert changed == set(games.COLLAPSED)


def test_the_stored_diffusion_model_learns_what_it_is_asked_for():
    replay = replays.load("ddpm")
    asked, loss = replay.measured["as_asked"], replay.measured["test_loss"]
    assert asked[0] == pytest.approx(0.1) and asked[-1] > 0.8 and loss[-1] < 0.15 < 0.9 < loss[0]
    assert asked[loss < 0.17][0] < 0.5, "most of it is learnt where the loss looks nearly flat"
    moved = (replay.pictures[1:].double() - replay.pictures[:-1].double()).abs().flatten(1).mean(1)
    assert (moved[-5:].diff() < 0).all() and moved[-1] < 0.25 * moved.max()
