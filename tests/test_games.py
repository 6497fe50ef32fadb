"""The small games: every move checked by hand, the record against the players, the presets for what they promise."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import nn

from gentut import Error, games, gan
from gentut.games import Game

LINE = Game(hidden=(8, 6), batch_size=16, steps=30)
PLANE = LINE.replace(dim=2, latent=3, discriminator_steps=2)
TARGETS = {1: games.pair(), 2: games.ring()}


def short(game, **more):
    return games.play(game, TARGETS[game.dim], **{"frames": 8, "m": 40} | more)


def draws(game, step=0):
    return next(itertools.islice(games.rounds(game, TARGETS[game.dim]), step, None))


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def load(game, state):
    players = games.players(game)
    for player, weights in zip(players, (state["generator"], state["discriminator"]), strict=True):
        player.load_state_dict(weights)
    return players


# --------------------------------------------------------------------------------------------------------- the players


@pytest.mark.parametrize("game", [LINE, PLANE])
def test_players(game):
    generator, discriminator = games.players(game)
    for network, widths in ((generator, (game.latent, 8, 6, game.dim)), (discriminator, (game.dim, 8, 6, 1))):
        linear = [m for m in network if isinstance(m, nn.Linear)]
        assert [type(m) for m in network] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
        assert (*(m.in_features for m in linear), linear[-1].out_features) == widths
        assert all(p.dtype == torch.float64 for p in network.parameters())
    again, other = games.players(game), games.players(game.replace(seed=1))
    assert torch.equal(weights(generator), weights(again[0]))
    assert not torch.equal(weights(generator), weights(other[0]))


@pytest.mark.parametrize("loss", gan.LOSSES)
@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_the_discriminators_move_goes_down_its_loss_and_moves_nothing_else(loss, penalty):
    game = PLANE.replace(loss=loss, penalty=penalty)
    generator, discriminator = games.players(game)
    x, z, u = (draws(game)[k][0] for k in "xzu")
    before = weights(generator), weights(discriminator)
    real, fake = discriminator(x)[:, 0], discriminator(generator(z))[:, 0]
    by_hand = {
        "least-squares": (real - 1).square().mean() / 2 + fake.square().mean() / 2,
        "wgan-gp": fake.mean() - real.mean(),
    }.get(loss, -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean())
    if penalty:
        between = u[:, None] * x + (1 - u[:, None]) * generator(z).detach()
        step = 1e-6 * torch.eye(2, dtype=torch.float64)
        slopes = [(discriminator(between + s) - discriminator(between - s))[:, 0] / 2e-6 for s in step]
        by_hand = by_hand + penalty * (torch.stack(slopes).norm(dim=0) - 1).square().mean()
    gradient = torch.autograd.grad(by_hand, list(discriminator.parameters()))
    optimizer = torch.optim.SGD(discriminator.parameters(), 0.1)
    loss = games.discriminator_step(game, generator, discriminator, optimizer, x, z, u)
    assert loss == pytest.approx(by_hand.item(), rel=1e-7)
    moved = before[1] - 0.1 * torch.cat([g.flatten() for g in gradient])
    assert torch.allclose(weights(discriminator), moved, rtol=1e-5, atol=1e-8)
    assert torch.equal(weights(generator), before[0]) and all(p.grad is None for p in generator.parameters())


@pytest.mark.parametrize("loss", gan.LOSSES)
def test_the_generators_move_goes_down_its_loss_and_moves_nothing_else(loss):
    game = PLANE.replace(loss=loss)
    generator, discriminator = games.players(game)
    z = draws(game)["generator_z"]
    before = weights(generator), weights(discriminator)
    fake = discriminator(generator(z))[:, 0]
    by_hand = {
        "saturating": (1 - fake.sigmoid()).log(), "non-saturating": -fake.sigmoid().log(),
        "least-squares": (fake - 1).square() / 2, "wgan-gp": -fake,
    }[loss].mean()
    gradient = torch.autograd.grad(by_hand, list(generator.parameters()))
    value = games.generator_step(game, generator, discriminator, torch.optim.SGD(generator.parameters(), 0.1), z)
    assert value == pytest.approx(by_hand.item(), rel=1e-9)
    assert torch.allclose(weights(generator), before[0] - 0.1 * torch.cat([g.flatten() for g in gradient]), rtol=1e-9)
    assert torch.equal(weights(discriminator), before[1]) and all(p.grad is None for p in discriminator.parameters())


def test_the_penalty_needs_its_numbers():
    game = PLANE.replace(penalty=1.0)
    generator, discriminator = games.players(game)
    with pytest.raises(Error, match="the penalty needs u"):
        games.discriminator_step(game, generator, discriminator, None, *(draws(game)[k][0] for k in "xz"))


def test_the_optimizers_are_the_games():
    generator, discriminator = games.players(LINE)
    game = LINE.replace(learning_rate=0.01, discriminator_rate=3.0, beta1=0.3, beta2=0.9)
    of_g, of_d = (o.param_groups[0] for o in games.optimizers(game, generator, discriminator))
    assert (of_g["lr"], of_g["betas"]) == (0.01, (0.3, 0.9))
    assert of_d["lr"] == pytest.approx(0.03) and of_d["betas"] == (0.3, 0.9)
    assert of_g["params"][0] is generator[0].weight and of_d["params"][0] is discriminator[0].weight


# ---------------------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize("game", [LINE, PLANE])
def test_the_shapes_of_a_record(game):
    r = short(game)
    frames, g = len(r.steps), 101 if game.dim == 1 else 625
    assert frames == 8 and r.steps[0] == 0 and r.steps[-1] == game.steps and (r.steps.diff() > 0).all()
    assert r.z.shape == (40, game.latent) and r.real.shape == (40, game.dim) and r.grid.shape == (g, game.dim)
    assert r.samples.shape == r.arrows.shape == (frames, 40, game.dim) and r.scores.shape == (frames, g)
    common = {"discriminator_loss", "generator_loss", "score_real", "score_fake", "right"}
    assert set(r.curves) == common | ({"distance"} if game.dim == 1 else {"modes", "near"})
    shown = [r.z, r.real, r.grid, r.samples, r.arrows, r.scores, *r.curves.values()]
    if game.dim == 1:
        assert r.density.shape == (frames, g)
        shown.append(r.density)
    else:
        assert r.density is None
    assert all(t.dtype == torch.float32 and t.isfinite().all() and not t.requires_grad for t in shown)
    assert all(v.shape == (frames,) for v in r.curves.values())
    assert r.game == game and r.target is TARGETS[game.dim]


def test_a_short_game_has_fewer_frames():
    assert short(LINE.replace(steps=3), frames=60).steps.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("loss", gan.LOSSES)
def test_a_record_can_be_played_again_from_what_it_holds(loss):
    game = PLANE.replace(loss=loss, penalty=1.0 if loss == "wgan-gp" else 0.0, steps=22, beta1=0.4)
    r = short(game)
    assert (r.steps[1:-1] < 20).sum() >= 4
    players = load(game, r.first)
    for player, state in zip(players, r.first.values(), strict=True):
        assert all(torch.equal(v, state[k]) for k, v in player.state_dict().items())
    of_g, of_d = games.optimizers(game, *players)
    b = r.batches
    assert len(b["x"]) == 20 and all(v.dtype == torch.float64 for v in b.values())
    for i in range(20):
        if i in r.steps:
            shown = r.samples[r.steps.tolist().index(i)]
            assert (players[0](r.z.double()) - shown).abs().max() < 1e-6  # z was rounded to float32
        for j in range(2):
            d = games.discriminator_step(game, *players, of_d, b["x"][i, j], b["z"][i, j], b["u"][i, j])
            assert d == b["discriminator_loss"][i, j].item()
        assert games.generator_step(game, *players, of_g, b["generator_z"][i]) == b["generator_loss"][i].item()


@pytest.mark.parametrize("game", [LINE, PLANE])
def test_a_frame_is_what_the_players_say(game):
    r = short(game)
    generator, discriminator = load(game, r.first)
    z = games.shown_z(game, 40)
    assert torch.equal(z.float(), r.z)
    x = generator(z).detach()
    assert torch.equal(x.float(), r.samples[0])
    assert torch.equal(discriminator(games.grid(r.target))[:, 0].detach().float(), r.scores[0])
    step = 1e-6 * torch.eye(game.dim, dtype=torch.float64)
    up, down = (F.softplus(-discriminator(x[:, None] + s * step)[..., 0]).detach() for s in (1, -1))
    assert torch.allclose(r.arrows[0], -((up - down) / 2e-6).float(), rtol=1e-3, atol=1e-6)
    on_real, on_fake = discriminator(r.real.double())[:, 0], discriminator(x)[:, 0]
    expected = {
        "discriminator_loss": F.softplus(-on_real).mean() + F.softplus(on_fake).mean(),
        "generator_loss": F.softplus(-on_fake).mean(), "score_real": on_real.mean(), "score_fake": on_fake.mean(),
        "right": torch.cat([on_real > 0, on_fake < 0]).double().mean(),
    }
    if game.dim == 1:
        expected["distance"] = games.earth_movers_distance(x, r.target)
    else:
        expected["modes"], expected["near"] = games.modes_found(x, r.target)
    assert {k: v[0].item() for k, v in r.curves.items()} == pytest.approx({k: float(v) for k, v in expected.items()},
                                                                         rel=1e-5, abs=1e-6)


def test_a_game_is_a_function_of_its_settings_and_leaves_torchs_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, again, other, longer = short(PLANE), short(PLANE), short(PLANE.replace(seed=1)), short(PLANE, frames=20, m=50)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.samples, again.samples) and torch.equal(one.scores, again.scores)
    assert not torch.equal(one.samples, other.samples)
    assert torch.equal(one.scores[-1], longer.scores[-1])  # what is shown has no part in the game


def test_the_z_shown_in_one_dimension_are_equally_likely():
    z = games.shown_z(LINE, 200)[:, 0]
    assert torch.allclose(torch.special.ndtr(z), (torch.arange(200, dtype=torch.float64) + 0.5) / 200)
    assert not torch.equal(games.shown_z(PLANE, 9), games.shown_z(PLANE.replace(seed=1), 9))


def test_the_grid_of_the_plane_is_read_like_lines_of_text_from_the_bottom():
    at = games.grid(games.ring()).view(25, 25, 2)
    assert (at[:, :, 0].diff(dim=1) > 0).all() and (at[:, :, 0] == at[0, :, 0]).all()
    assert (at[:, :, 1].diff(dim=0) > 0).all() and (at[:, :, 1] == at[:, :1, 1]).all()
    x = games.ring().sample(5000, generator=0)
    assert (x >= at[0, 0]).all() and (x <= at[-1, -1]).all()


def test_the_density_of_a_straight_generator_is_a_normal():
    line = nn.Linear(1, 1).double()
    at = games.grid(games.pair())[:, 0]
    half = (at[1] - at[0]).item() / 2
    for slope, mean in ((0.5, -0.3), (-0.2, 1.0)):
        with torch.no_grad():
            line.weight.fill_(slope)
            line.bias.fill_(mean)
        known = (norm.cdf(at + half, mean, abs(slope)) - norm.cdf(at - half, mean, abs(slope))) / (2 * half)
        assert games.density(line, at).numpy() == pytest.approx(known, abs=0.005 * known.max())


def test_the_density_of_a_folding_generator_is_what_samples_say():
    generator, _ = games.players(Game(hidden=(8,), seed=2))
    with torch.no_grad():  # far from straight: it folds the line
        generator[0].weight.mul_(5)
        generator[2].weight.mul_(3)
    at = torch.linspace(-6, 6, 61, dtype=torch.float64)
    x = generator(torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).detach()
    counted = torch.histc(x, 61, -6.1, 6.1) / len(x) / 0.2
    got = games.density(generator, at)
    assert got.sum() * 0.2 == pytest.approx(1, abs=1e-9)
    assert (got - counted).abs().sum() * 0.2 < 0.02
    slopes = generator(torch.linspace(-3, 3, 200, dtype=torch.float64)[:, None])[:, 0].diff()
    assert (slopes > 0).any() and (slopes < 0).any()


# ------------------------------------------------------------------------------------------- what the presets promise

SEEDS = (0, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_healthy_game_on_the_line_ends_near_the_target(seed):
    r = games.play(Game.healthy(1).replace(seed=seed), games.pair(), frames=21)
    assert r.curves["distance"][0] > 0.5 and r.curves["distance"][-5:].mean() < 0.2
    assert r.curves["right"][-10:].mean() == pytest.approx(0.5, abs=0.1)  # D is right half of the time
    width = (r.grid[1] - r.grid[0]).item()
    p = r.target.log_density(r.grid).exp()
    assert (r.density[-1] - p).abs().sum() * width / 2 < 0.6 < (r.density[0] - p).abs().sum() * width / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_collapsed_game_on_the_line_does_not(seed):
    r = games.play(Game.collapsed(1).replace(seed=seed), games.pair(), frames=21)
    assert r.curves["distance"][-8:].median() > 0.5
    assert sum(games.modes_found(x, r.target)[0] <= 1 for x in r.samples[-8:]) >= 4  # one bump at a time


@pytest.mark.parametrize("seed", SEEDS)
def test_the_healthy_game_in_the_plane_finds_all_modes(seed):
    r = games.play(Game.healthy(2).replace(seed=seed), games.ring(), frames=21)
    assert r.curves["modes"][0] == 0 and r.curves["modes"][-1] == 8
    assert r.curves["near"][-1] > 0.75


@pytest.mark.parametrize("seed", SEEDS)
def test_the_collapsed_game_in_the_plane_finds_few(seed):
    r = games.play(Game.collapsed(2).replace(seed=seed), games.ring(), frames=21)
    assert r.curves["modes"][-8:].max() <= 3


@pytest.mark.parametrize("dim", [1, 2])
def test_a_collapsed_game_differs_from_the_healthy_one_in_what_is_said(dim):
    healthy, collapsed = Game.healthy(dim).to_dict(), Game.collapsed(dim).to_dict()
    assert {k for k in healthy if healthy[k] != collapsed[k]} == set(games.COLLAPSED)
    assert healthy["dim"] == dim


# ------------------------------------------------------------------------------------------------------ a sure opponent


def test_a_sure_opponent_leaves_the_saturating_loss_no_gradient():
    game = Game.healthy(2)
    seen = games.vanishing(game, games.ring(), steps=150, frames=6)
    assert seen["steps"].tolist() == [0, 30, 60, 90, 120, 150] and seen["right"][-1] > 0.98
    start, end = ({k: v[i].item() for k, v in seen.items()} for i in (0, -1))
    assert end["score_fake"] < -3 < start["score_fake"]
    assert end["saturating"] < 0.2 * end["non-saturating"]
    assert end["non-saturating"] > 2 * start["non-saturating"]


def test_the_two_gradients_differ_by_the_odds():
    _, discriminator = games.players(PLANE)
    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    saturating, scores = games.pulls("saturating", discriminator, x)
    other, _ = games.pulls("non-saturating", discriminator, x)
    assert torch.allclose(saturating, other * scores.exp()[:, None])  # σ(s) against 1 - σ(s)
    assert torch.equal(scores, discriminator(x)[:, 0].detach())


# ---------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Game(loss="hinge"), "unknown loss 'hinge'. There are: saturating"),
    (lambda: Game(dim=3), "unknown dim 3"),
    (lambda: Game.healthy(3), "unknown dim 3"),
    (lambda: Game.collapsed(0), "unknown dim 0"),
    (lambda: Game(latent=0), "latent must be at least 1, got 0"),
    (lambda: Game(steps=0), "steps must be at least 1, got 0"),
    (lambda: Game(discriminator_steps=0), "discriminator_steps must be at least 1"),
    (lambda: Game(batch_size=0), "batch_size must be at least 1"),
    (lambda: Game(hidden=()), "hidden needs at least one width"),
    (lambda: Game(hidden=(8, 0)), "hidden takes positive whole numbers"),
    (lambda: Game(learning_rate=0.0), "need learning_rate > 0"),
    (lambda: Game(discriminator_rate=-1.0), "discriminator_rate > 0"),
    (lambda: Game(penalty=-1.0), "penalty >= 0"),
    (lambda: Game(beta1=1.0), "need 0 <= beta1 < 1"),
    (lambda: Game().replace(learning_rat=1.0), "Did you mean 'learning_rate'"),
    (lambda: games.play(LINE, games.ring()), "must be a Mixture in dimension 1, got one in 2"),
    (lambda: games.play(LINE, torch.randn(5, 1)), "must be a Mixture in dimension 1, got Tensor"),
    (lambda: games.play(LINE, games.pair(), frames=1), "need frames >= 2 and m >= 1, got 1 and 256"),
    (lambda: games.play(LINE, games.pair(), m=0), "need frames >= 2 and m >= 1, got 60 and 0"),
    (lambda: games.density(nn.Identity(), torch.zeros(3, 1)), "middles of two or more cells"),
    (lambda: games.vanishing(LINE, games.ring()), "must be a Mixture in dimension 1, got one in 2"),
    (lambda: games.play(LINE.replace(loss="least-squares", learning_rate=1e200), games.pair()), "no longer finite"),
])
def test_wrong_input_is_one_clear_error(make, message):
    with pytest.raises(Error, match=message):
        make()


def test_the_losses_before_the_first_move_are_near_those_of_a_coin():
    r = short(PLANE)  # an untrained D has small scores: log 4 and log 2
    assert r.curves["discriminator_loss"][0].item() == pytest.approx(math.log(4), abs=0.3)
    assert r.curves["generator_loss"][0].item() == pytest.approx(math.log(2), abs=0.3)
