"""DDPM: the loss by hand, samplers by what they must give where the best denoiser is known, one error a mistake."""

import itertools
import math
import multiprocessing
import os
import socket
import sys
import traceback
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gentut import Error, checkpoints, data, ddpm, diffusion, metrics, runs, training, unet

TINY = ddpm.Config(data="mnist-mini", widths=(4, 8), embedding=8, T=20, steps=4, batch_size=16, log_every=1)
BARE = TINY.replace(classes=0)  # without labels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def greys(n=6, seed=0):
    return torch.rand(n, 1, 28, 28, generator=generator(seed))


def pictures(n=64, seed=0):
    return (greys(n, seed)[:, 0] * 255).to(torch.uint8)


def labels_of(n=64):
    return torch.arange(n) % 10


def noise(n=6, seed=0):
    return torch.randn(n, 1, 28, 28, generator=generator(seed))


def loud(config=TINY, seed=0):
    """An untrained model with small random numbers on all its weights: none of its layers is silent."""
    model, g = ddpm.build(config), generator(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return model.eval()


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def fit(config=TINY, n=64, **options):
    given = {"images": pictures(n), "labels": labels_of(n)} | options
    return ddpm.train(config, device="cpu", **given)


class Fixed:
    """A training.Noise whose numbers are known."""

    def __init__(self, places, eps, u=None):
        self.places, self.eps, self.u = places, eps, u

    def stratified(self):
        return self.places

    def normal(self, *shape):
        assert self.eps.shape[1:] == shape
        return self.eps

    def uniform(self, *shape):
        assert self.u.shape[1:] == shape
        return self.u


class Knows(torch.nn.Module):
    """A network that knows x_0 of every picture and gives what its kind asks for; it remembers what it was told."""

    def __init__(self, model, x0):
        super().__init__()
        self.schedule, self.c, self.x0, self.told = model.schedule, model.config, x0, []

    def forward(self, x_t, t, labels=None):
        self.told.append((x_t, t, labels))
        step = (t * self.c.T / 1000).round().long()
        a = self.schedule.alpha_bar[step].view(-1, 1, 1, 1).to(x_t)
        return diffusion.target(self.c.predict, self.x0, (x_t - a.sqrt() * self.x0) / (1 - a).sqrt(), a)


def knowing(x0, **changes):
    """A model whose network knows that the pictures are x0, in [-1, 1]."""
    model = ddpm.build(TINY.replace(**changes))
    model.network = Knows(model, x0)
    model.anchor = torch.nn.Parameter(torch.zeros(1))  # a model has at least one weight, which says where it lies
    return model.eval()


# ------------------------------------------------------------------------------------------------------------- the loss

PLACES = torch.tensor([0.0, 0.05, 0.3, 0.5, 0.7, 1 - 2**-24])
TIMES = [1, 2, 7, 11, 15, 20]  # of 20


@pytest.mark.parametrize("loss", ["l2", "l1"])
@pytest.mark.parametrize("predict", diffusion.KINDS)
def test_the_loss_by_hand(predict, loss):
    """Picture by picture: its time, its noise, its label or none, and what the network should have said."""
    model = loud(TINY.replace(predict=predict, loss=loss, drop_label=0.25))
    x, labels = greys(), torch.tensor([0, 1, 2, 7, 8, 9])
    drawn = Fixed(PLACES, noise(seed=1), torch.tensor([0.0, 0.24, 0.25, 0.9, 0.1, 1 - 2**-24]))
    terms = ddpm.losses(model, x, labels, drawn)
    assert terms.keys() == {"loss"} and terms["loss"].shape == (6,) and terms["loss"].requires_grad
    told = [10, 10, 2, 7, 10, 9]  # hidden where the uniform number is below 0.25
    for i, t in enumerate(TIMES):
        a = model.schedule.alpha_bar[t].item()
        x0, eps = 2 * x[i] - 1, drawn.eps[i]
        x_t = math.sqrt(a) * x0 + math.sqrt(1 - a) * eps
        want = {"eps": eps, "x0": x0, "v": math.sqrt(a) * eps - math.sqrt(1 - a) * x0}[predict]
        with torch.no_grad():
            said = model.network(x_t[None], torch.tensor([t * 50.0]), torch.tensor([told[i]]))[0]
        difference = said - want
        by_hand = difference.square().mean() if loss == "l2" else difference.abs().mean()
        assert terms["loss"][i].item() == pytest.approx(by_hand.item(), rel=1e-4)


@pytest.mark.parametrize("predict", diffusion.KINDS)
def test_a_network_that_knows_has_no_loss_and_an_untrained_one_has_that_of_0(predict):
    x, drawn = greys(), Fixed(PLACES, noise(seed=1))
    knows = knowing(2 * x - 1, predict=predict, classes=0)
    assert ddpm.losses(knows, x, None, drawn)["loss"].max() < 1e-6
    assert [t.item() for t in knows.network.told[0][1]] == [50 * t for t in TIMES]  # T steps are 1000 units of time
    silent = ddpm.losses(ddpm.build(BARE.replace(predict=predict)), x, None, drawn)["loss"]
    for i, t in enumerate(TIMES):
        a = silent.new_tensor(knows.schedule.alpha_bar[t].item())
        want = diffusion.target(predict, 2 * x[i] - 1, drawn.eps[i], a).square().mean()
        assert silent[i].item() == pytest.approx(want.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["l2", "l1"])
@pytest.mark.parametrize("predict", diffusion.KINDS)
def test_the_loss_with_guidance_built_in_by_hand(predict, loss):
    """The target moves by γ times what the label changes, and does not pull at the network; no label, no move."""
    model, plain = (loud(TINY.replace(predict=predict, loss=loss, guided=g)) for g in (0.4, 0.0))
    x, labels, drawn = greys(), torch.tensor([0, 1, 2, 7, 8, 9]), Fixed(PLACES, noise(seed=1), torch.ones(6))
    drawn.u[:2] = 0.0  # two hidden labels
    got, want = ddpm.losses(model, x, labels, drawn)["loss"], ddpm.losses(plain, x, labels, drawn)["loss"]
    assert torch.equal(got[:2], want[:2])
    t = torch.tensor(TIMES)
    a = model.alpha_bar[t].view(-1, 1, 1, 1)
    x0 = 2 * x - 1
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * drawn.eps
    cond, uncond = model(x_t, t, torch.where(drawn.u < 0.1, 10, labels)), model(x_t, t, torch.full((6,), 10))
    goal = (diffusion.target(predict, x0, drawn.eps, a) + 0.4 * (cond - uncond)).detach()
    by_hand = (cond - goal).square() if loss == "l2" else (cond - goal).abs()
    by_hand = by_hand.mean((1, 2, 3))
    assert torch.allclose(got, by_hand, rtol=1e-4) and not torch.allclose(got[2:], want[2:], rtol=1e-3)
    slopes = [torch.autograd.grad(v.mean(), model.network.last.weight)[0] for v in (got, by_hand)]
    assert torch.allclose(*slopes, rtol=1e-3, atol=1e-5)


@given(st.floats(0, 0.9), st.floats(-3, 3), st.floats(-3, 3))
def test_what_is_learnt_with_guidance_built_in_is_guidance(gamma, target, without):
    """Where the loss is 0, the network says (1 + w) target - w without, with w = γ / (1 - γ)."""
    w = gamma / (1 - gamma)
    says = (1 + w) * target - w * without
    assert says - (target + gamma * (says - without)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("total", [1, 20, 1000])
def test_every_time_from_1_to_t_is_drawn_and_no_other(total):
    model, n = knowing(torch.zeros(500, 1, 28, 28), T=total, classes=0), 500
    for seed in range(4):
        ddpm.losses(model, torch.full((n, 1, 28, 28), 0.5), None, training.Noise(seed, n))
    times = torch.cat([t for _, t, _ in model.network.told]) * total / 1000
    assert times.min() >= 1 and times.max() <= total and torch.allclose(times, times.round(), atol=1e-3)
    counts = times.round().long().bincount(minlength=total + 1)[1:]
    assert (counts - 4 * n / total).abs().max() <= 4 * 2  # stratified: each batch has its share, one or two aside


def test_the_last_time_is_t_even_where_rounding_would_go_beyond():
    """With this seed the last of 128 numbers is so near 1 that 127 + u is 128 in float32."""
    model = knowing(torch.zeros(128, 1, 28, 28), classes=0, T=1000)
    ddpm.losses(model, torch.full((128, 1, 28, 28), 0.5), None, training.Noise(53_913, 128))
    assert model.network.told[0][1][-1] == 1000


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_labels_are_hidden_as_often_as_was_asked(share):
    n, labels = 1000, labels_of(1000)
    model = knowing(torch.zeros(n, 1, 28, 28), drop_label=share)
    ddpm.losses(model, torch.full((n, 1, 28, 28), 0.5), labels, training.Noise(3, n))
    _, _, told = model.network.told[0]
    hidden = told == 10
    assert torch.equal(told[~hidden], labels[~hidden]) and told.dtype == torch.int64
    assert abs(hidden.float().mean().item() - share) <= 5 * math.sqrt(share * (1 - share) / n)


def test_a_network_without_classes_is_told_no_label():
    model = loud(BARE)
    assert model.network.label is None and "shares" not in model.state_dict()
    assert ddpm.losses(model, greys(), None, training.Noise(0, 6))["loss"].shape == (6,)


def test_each_process_computes_its_rows_of_the_loss():
    model, x, labels = loud(), greys(16), labels_of(16)
    whole = ddpm.losses(model, x, labels, training.Noise(5, 16))["loss"]
    halves = [ddpm.losses(model, x[r], labels[r], training.Noise(5, 16, r))["loss"]
              for r in (slice(0, 8), slice(8, 16))]
    assert torch.allclose(whole, torch.cat(halves), rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("changes", [
    {}, {"predict": "eps", "loss": "l1"}, {"predict": "x0"}, {"classes": 0}, {"attention": True, "blocks": 2},
    {"norm": "batch"}, {"guided": 0.3}, {"schedule": "linear", "T": 1000}, {"schedule": "sigmoid"},
    {"precision": "bf16", "ema": 0.9}, {"validation": 16, "keep_best": True, "ema": 0.5},
    {"classes": 12, "drop_label": 0.0},
], ids=str)
def test_every_choice_trains(changes):
    config = TINY.replace(**changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a schedule of the notes' is no reason to warn here
        run = fit(config)
    assert run.complete and run.step == 4 and not run.model.training
    first, last = weights(ddpm.build(config)), weights(run.model)
    assert all(v.isfinite().all() for v in last.values())
    assert not torch.equal(first["network.last.weight"], last["network.last.weight"])
    assert all(math.isfinite(row["loss"]) for row in run.history)
    x = ddpm.sample(run.model, 2, steps=3, generator=generator())
    assert x.shape == (2, 1, 28, 28)


def test_training_is_seeded():
    a, b, c = (weights(fit(TINY.replace(seed=s)).model) for s in (0, 0, 1))
    assert equal(a, b) and not torch.equal(a["network.first.weight"], c["network.first.weight"])


def test_building_is_seeded_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    a, b, c = (weights(ddpm.build(TINY.replace(seed=s))) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(a, b) and not torch.equal(a["network.first.weight"], c["network.first.weight"])


class Crash(BaseException):
    pass


FULL = TINY.replace(steps=12, save_every=3, ema=0.9, warmup=3, decay="cosine", validation=16, log_every=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped."""
    return fit(FULL, out=tmp_path_factory.mktemp("runs") / "whole")


@pytest.mark.parametrize("stop", [5, 9, 12])
def test_a_run_that_was_cut_off_goes_on_bitwise(whole, stop, tmp_path, monkeypatch):
    losses, calls = ddpm.losses, [0]

    def crashing(model, *given):
        calls[0] += model.training
        if calls[0] == stop:
            raise Crash
        return losses(model, *given)

    monkeypatch.setattr(ddpm, "losses", crashing)
    with pytest.raises(Crash):
        fit(FULL, out=tmp_path / "cut")
    monkeypatch.setattr(ddpm, "losses", losses)
    resumed = fit(FULL, out=tmp_path / "cut", resume=True)
    assert equal(weights(whole.model), weights(resumed.model))
    for name in ("loss", "validation_loss"):
        assert whole.curve(name) == resumed.curve(name)
    folders = (whole.folder, tmp_path / "cut")
    kept = [checkpoints.read_weights((f / "weights.safetensors").read_bytes()) for f in folders]
    assert equal(*kept) and equal(kept[0], weights(whole.model))


# A server that has imported torch once, and forks: a process then starts in milliseconds, with no thread inherited.
fork = multiprocessing.get_context("forkserver")
fork.set_forkserver_preload(["gentut.ddpm", "torch._dynamo"])


def work(config, out, environment):
    """What each of the two processes below does."""
    os.environ.update(environment, CI="1")
    with open(f"{out}.err{environment['RANK']}", "w") as f:
        sys.stderr = f
        try:
            fit(ddpm.Config(**config), out=out)
        except BaseException:
            traceback.print_exc()
            f.flush()
            os._exit(1)
    os._exit(0)


def test_two_processes_follow_one(tmp_path):
    config, out = FULL.replace(log_every=1), tmp_path / "two"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(s.getsockname()[1])}
    processes = [fork.Process(target=work, args=(config.to_dict(), out, {**common, "RANK": r, "LOCAL_RANK": r}))
                 for r in ("0", "1")]
    try:
        for process in processes:
            process.start()
        one = fit(config)
        for rank, process in enumerate(processes):
            process.join(300)
            assert process.exitcode == 0, Path(f"{out}.err{rank}").read_text()
    finally:
        for process in processes:
            process.kill()
    assert runs.read_json(out / "results.json")["processes"] == 2
    two = checkpoints.read_weights((out / "weights.safetensors").read_bytes())
    assert max((v - two[k]).abs().max() for k, v in weights(one.model).items()) < 1e-4
    logged = [line["loss"] for line in map(runs.json.loads, (out / "log.jsonl").read_text().splitlines())]
    assert logged == pytest.approx(one.curve("loss")[1], rel=1e-4)


@pytest.mark.parametrize("predict", diffusion.KINDS)
def test_a_network_learns_the_one_picture_there_is(predict):
    one = data.load("mnist-mini").train_images[:1]
    config = BARE.replace(predict=predict, widths=(8, 16), embedding=16, steps=80, learning_rate=1e-2, log_every=10)
    run = fit(config, images=one.expand(64, 28, 28).contiguous(), labels=None)
    _, values = run.curve("loss")
    assert values[-1] < values[0] / 2  # of an untrained network, which says 0
    x0 = data.to_unit(one)

    def distance(model):
        return (ddpm.sample(model, 8, generator=generator(), steps=10) - x0).square().mean().item()

    better = {"eps": 0.8}.get(predict, 1 / 3)  # from ε, x_0 is a small difference of large numbers at late times
    assert distance(run.model) < better * distance(ddpm.build(config))


def test_labels_are_learned():
    """Black pictures are called 0 and white ones 1: told which, the network paints it."""
    images = torch.zeros(64, 28, 28, dtype=torch.uint8)
    images[32:] = 255
    labels = torch.arange(64) // 32
    config = TINY.replace(classes=2, widths=(8, 16), embedding=16, steps=80, learning_rate=1e-2)
    model = fit(config, images=images, labels=labels).model
    black, white = (ddpm.sample(model, 8, generator=generator(), steps=10, labels=k).mean().item() for k in (0, 1))
    assert black < 0.3 and white > 0.7
    assert model.shares.tolist() == [0.5, 0.5]


def test_the_shares_of_the_labels_are_counted_and_kept(tmp_path):
    labels = torch.tensor([3] * 48 + [9] * 16)
    run = fit(TINY, labels=labels, out=tmp_path / "run")
    want = torch.zeros(10)
    want[3], want[9] = 0.75, 0.25
    assert torch.equal(run.model.shares, want)
    loaded = checkpoints.load(tmp_path / "run/weights.safetensors", "cpu")
    assert torch.equal(loaded.shares, want) and loaded.config == TINY
    assert equal(weights(loaded), weights(run.model))
    told = []
    loaded.network.register_forward_pre_hook(lambda module, args: told.append(args[2]))
    ddpm.sample(loaded, 400, generator=generator(), steps=1)
    assert set(told[0].tolist()) == {3, 9} and abs((told[0] == 9).float().mean() - 0.25) < 5 * math.sqrt(0.19 / 400)


def test_the_schedule_is_no_weight():
    model = ddpm.build(TINY)
    assert set(model.state_dict()) == {f"network.{k}" for k in model.network.state_dict()} | {"shares"}
    assert torch.allclose(model.alpha_bar.double(), model.schedule.alpha_bar) and model.schedule.T == 20
    assert ddpm.build(TINY.replace(schedule="linear", T=7)).schedule.name == "linear"


def test_presets():
    test, cpu, gpu = (ddpm.Config.preset(s) for s in ("test", "cpu", "gpu"))
    assert test.data == cpu.data == "mnist-mini" and gpu.data == "mnist"
    page = unet.UNet(classes=10)
    for preset in (test, cpu, gpu):
        assert preset.ema and preset.classes == 10
        shapes = [p.shape for p in ddpm.build(preset).network.parameters()]
        assert shapes == [p.shape for p in page.parameters()]  # the page's network at every scale
    with pytest.raises(Error, match=r"unknown scale 'gpus'. There are: test, cpu, gpu. Did you mean 'gpu'\?"):
        ddpm.Config.preset("gpus")


def test_the_notes_choices():
    config = TINY.replace(**ddpm.NOTES)
    assert (config.schedule, config.T, config.predict) == ("linear", 300, "eps")
    assert (config.loss, config.norm) == ("l1", "batch")
    model = ddpm.build(config)
    assert model.schedule.alpha_bar[-1].item() == pytest.approx(0.048, abs=5e-4)
    assert model.schedule.betas[[1, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    assert not any(isinstance(m, torch.nn.GroupNorm) for m in model.modules())
    run = fit(config)
    assert run.complete and ddpm.sample(run.model, 3, steps=5, eta=1.0, generator=generator()).shape == (3, 1, 28, 28)


# ------------------------------------------------------------------------------------------------------------- samplers

WAYS = [(0.0, "posterior"), (0.3, "posterior"), (1.0, "posterior"), (1.0, "beta")]


@pytest.mark.parametrize(("eta", "variance"), WAYS)
@pytest.mark.parametrize("predict", diffusion.KINDS)
def test_with_a_network_that_knows_every_sampler_gives_the_pictures(predict, eta, variance):
    x0 = 2 * greys(5) - 1
    for schedule, steps in [("cosine", 20), ("cosine", 1), ("cosine", 7), ("linear", 7)]:
        model = knowing(x0, predict=predict, schedule=schedule)
        film = list(ddpm.denoise(model, noise(5, seed=1), 3, steps=steps, eta=eta, variance=variance,
                                 generator=generator()))
        assert [t for t, _, _ in film] == [*model.schedule.timesteps(steps), 0]
        for t, x_t, guess in film:
            a = model.schedule.alpha_bar[t].item()
            assert torch.allclose(guess, x0, atol=2e-3), t  # (at ᾱ_T = 5e-6, ε is 2e-3 of x_0's place in float32)
            if schedule == "cosine" and variance == "posterior":  # what is left of x_t is noise of the right strength
                rest = (x_t - math.sqrt(a) * x0).std().item()
                assert rest == pytest.approx(math.sqrt(1 - a), rel=0.08, abs=2e-3)
        assert torch.allclose(film[-1][1], x0, atol=2e-3) and torch.equal(film[-1][1], film[-1][2])


@pytest.mark.parametrize(("eta", "variance"), WAYS)
def test_with_the_best_denoiser_the_pictures_have_the_moments_of_the_data(eta, variance):
    """Pixels that are N(m, s²): E[x_0 | x_t] is known. Their mean and deviation come out again."""
    m, s = -0.3, 0.2
    model = knowing(None, T=100, predict="x0", schedule="cosine", classes=0)

    def best(x_t, t, labels=None):
        a = model.schedule.alpha_bar[(t / 10).round().long()].view(-1, 1, 1, 1).to(x_t)
        return m + a.sqrt() * s**2 / (a * s**2 + 1 - a) * (x_t - a.sqrt() * m)

    model.network.forward = best
    *_, (_, x0, _) = ddpm.denoise(model, noise(60), steps=100, eta=eta, variance=variance, generator=generator(1))
    n = x0.numel()
    assert x0.mean().item() == pytest.approx(m, abs=5 * s / math.sqrt(n) + 0.01)
    assert x0.std().item() == pytest.approx(s, rel=0.08)  # 100 steps: some per cent off, as the theory says


@pytest.mark.parametrize(("eta", "variance"), WAYS)
def test_same_seed_same_picture(eta, variance):
    model, options = loud(), {"eta": eta, "variance": variance, "steps": 5}
    before = torch.get_rng_state()
    a, b, c = (ddpm.sample(model, 3, generator=generator(s), **options) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert a.shape == (3, 1, 28, 28) and a.dtype == torch.float32 and not a.requires_grad
    assert data.check_pictures(a) is a and a.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(a, b) and not torch.equal(a, c)
    torch.manual_seed(3)
    loose = ddpm.sample(model, 2, **options)
    torch.manual_seed(3)
    assert torch.equal(loose, ddpm.sample(model, 2, **options))
    assert not torch.equal(loose, ddpm.sample(model, 2, **options))


def test_ddim_is_a_function_of_its_noise_and_the_others_are_not():
    model, x = loud(), noise(2)

    def end(**options):
        *_, (_, x0, _) = ddpm.denoise(model, x, 4, steps=5, **options)
        return x0

    assert torch.equal(end(generator=generator(0)), end(generator=generator(1)))
    for way in ({"eta": 0.5}, {"eta": 1.0}, {"eta": 1.0, "variance": "beta"}):
        one, same, other = (end(generator=generator(s), **way) for s in (0, 0, 1))
        assert torch.equal(one, same) and not torch.equal(one, other)
    posterior, beta = (end(eta=1.0, variance=v, generator=generator()) for v in diffusion.VARIANCES)
    assert not torch.equal(posterior, beta) and not torch.equal(end(eta=0.5, generator=generator()), posterior)


def test_a_film_shows_each_step_of_the_sampler():
    """Each picture of the film by hand from the one before, and `sample` gives its last."""
    model, labels = loud(), torch.tensor([1, 5])
    x, g = torch.randn(2, 1, 28, 28, generator=generator(7)), generator(8)
    film = list(ddpm.denoise(model, x, labels, steps=4, eta=0.7, guidance=1.5, generator=generator(8)))
    assert [t for t, _, _ in film] == [20, 15, 10, 5, 0] and torch.equal(film[0][1], x)
    for (t, x_t, guess), (s, x_s, _) in itertools.pairwise(film):
        want = model.predict_x0(x_t, t, labels, 1.5).clamp(-1, 1)
        assert torch.equal(guess, want)
        z = torch.randn(x.shape, generator=g) if s else None
        assert torch.equal(x_s, model.schedule.step_back(x_t, guess, t, s, eta=0.7, noise=z))
    both = generator(7)  # x_T, then the noise on the way, come from one generator
    x = torch.randn(2, 1, 28, 28, generator=both)
    *_, (_, x0, _) = ddpm.denoise(model, x, labels, steps=4, eta=0.7, generator=both)
    want = data.from_signed(x0)
    assert torch.equal(want, ddpm.sample(model, 2, labels=labels, steps=4, eta=0.7, generator=generator(7)))


def test_clipping_keeps_the_guess_in_range():
    model = loud()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    for clip in (True, False):
        film = list(ddpm.denoise(model, noise(3), steps=4, clip=clip))
        inside = [guess.abs().max() <= 1 for _, _, guess in film]
        assert all(inside) if clip else not any(inside)
        x = ddpm.sample(model, 3, steps=4, clip=clip, generator=generator())
        assert x.min() >= 0 and x.max() <= 1  # a picture is one in any case


def test_many_pictures_come_in_parts():
    model, x, labels = loud(), noise(7), torch.arange(7)
    ends = []
    for batch in (500, 3, 1):
        *_, (_, x0, _) = ddpm.denoise(model, x, labels, steps=3, guidance=0.5, batch=batch)
        ends.append(x0)
    assert torch.allclose(ends[0], ends[1], atol=1e-4) and torch.allclose(ends[0], ends[2], atol=1e-4)


@pytest.mark.parametrize(("given", "told"), [
    (4, [4, 4, 4]), (torch.tensor(4), [4, 4, 4]), (torch.tensor([1, 0, 9]), [1, 0, 9]), ([1, 0, 9], [1, 0, 9]),
    (torch.tensor([1, 0, 9], dtype=torch.uint8), [1, 0, 9]), (torch.tensor([1, 0, 9]).numpy(), [1, 0, 9]),
], ids=str)
def test_labels_for_one_or_all(given, told):
    model, heard = loud(), []
    model.network.register_forward_pre_hook(lambda module, args: heard.append(args[2]))
    ddpm.sample(model, 3, labels=given, steps=2, generator=generator())
    assert len(heard) == 2 and all(h.tolist() == told and h.dtype == torch.int64 for h in heard)


def test_without_a_label():
    """denoise with labels=None, and guidance -1 with any label: the network hears "no label", once a step."""
    model, heard = loud(), []
    model.network.register_forward_pre_hook(lambda module, args: heard.append(args[2]))
    ends = []
    for options in ({}, {"labels": 3, "guidance": -1.0}, {"labels": 8, "guidance": -1}):
        *_, (_, x0, _) = ddpm.denoise(model, noise(2), steps=3, **options)
        ends.append(x0)
    assert len(heard) == 9 and all(h.tolist() == [10, 10] for h in heard)
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])
    bare = loud(BARE)
    bare.network.register_forward_pre_hook(lambda module, args: heard.append(args[2]))
    ddpm.sample(bare, 2, steps=1)
    assert heard.pop() is None


# ------------------------------------------------------------------------------------------------------------- guidance


@settings(max_examples=12)
@given(st.floats(-1, 20), st.sampled_from(diffusion.KINDS), st.integers(1, 20))
def test_guidance_is_a_line_through_the_two_predictions(w, predict, t):
    model = loud(TINY.replace(predict=predict))
    x, labels = noise(3), torch.tensor([0, 4, 9])
    with torch.no_grad():
        times, a = torch.full((3,), t), model.alpha_bar[t]
        cond, uncond = model(x, times, labels), model(x, times, torch.full((3,), 10))
        got = model.predict_x0(x, t, labels, w)
        want = diffusion.to_x0(predict, (1 + w) * cond - w * uncond, x, a)
        assert torch.allclose(got, want, rtol=1e-4, atol=1e-4 * want.abs().max().item())
        # the same line in terms of x_0, since each kind of prediction gives x_0 linearly
        ends = [diffusion.to_x0(predict, p, x, a) for p in (cond, uncond)]
        line = ends[0] + w * (ends[0] - ends[1])
        assert torch.allclose(got, line, rtol=1e-3, atol=1e-3 * (1 + w) * max(e.abs().max().item() for e in ends))


def test_guidance_0_and_minus_1_ask_the_network_once():
    model, heard = loud(), []
    model.network.register_forward_pre_hook(lambda module, args: heard.append(args[2].tolist()))
    x, labels, times = noise(2), torch.tensor([0, 4]), torch.full((2,), 7)
    with torch.no_grad():
        for w, told in [(0, [[0, 4]]), (0.0, [[0, 4]]), (-1, [[10, 10]]), (-1.0, [[10, 10]]),
                        (2.0, [[10, 10], [0, 4]]), (-0.5, [[10, 10], [0, 4]])]:
            heard.clear()
            got = model.predict_x0(x, 7, labels, w)
            assert sorted(heard) == sorted(told)
            if len(told) == 1:
                prediction = model(x, times, torch.tensor(told[0]))
                assert torch.equal(got, diffusion.to_x0("v", prediction, x, model.alpha_bar[7]))


def test_guidance_changes_the_pictures_and_a_network_deaf_to_labels_does_not_care():
    model = loud()
    a, b, c = (ddpm.sample(model, 2, labels=3, guidance=w, steps=4, generator=generator()) for w in (0.0, 3.0, -1.0))
    assert not torch.equal(a, b) and not torch.equal(a, c)
    with torch.no_grad():
        model.network.label.weight[:] = model.network.label.weight[0]
    a, b = (ddpm.sample(model, 2, labels=3, guidance=w, steps=4, generator=generator()) for w in (0.0, 3.0))
    assert torch.allclose(a, b, atol=1e-3)


# ------------------------------------------------------------------------------------------------------------- measured


def test_evaluate_measures_what_the_seed_draws(monkeypatch):
    model, asked = loud(), []

    def likeness(x, seed):
        asked.append((x, seed))
        return {"n": len(x)}

    monkeypatch.setattr(metrics, "likeness", likeness)
    plain = {"steps": 3, "eta": 0.0, "variance": "posterior", "guidance": 0.0}
    for changes, evaluations in [({}, 3), ({"guidance": -1.0}, 3), ({"guidance": 1.5}, 6),
                                 ({"eta": 1.0, "variance": "beta"}, 3)]:
        how = plain | changes
        got = ddpm.evaluate(model, "mnist-mini", n=30, seed=3, **how)
        assert got == {"n": 30, "seed": 3, "evaluations": evaluations} | how
        x, seed = asked.pop()
        assert seed == 3 and torch.equal(x, ddpm.sample(model, 30, generator=generator(3), **how))
    asks = loud(TINY.replace(measure_steps=2, measure_guidance=0.5))  # what the configuration says, unless told
    got = ddpm.evaluate(asks, n=30)
    assert (got["steps"], got["guidance"], got["evaluations"], got["seed"]) == (2, 0.5, 4, 0)
    assert ddpm.evaluate(asks, n=30, steps=1, guidance=0)["evaluations"] == 1


def test_fashion_is_measured_by_the_loss(monkeypatch):
    mini = data.load("mnist-mini")
    monkeypatch.setattr(data, "load", lambda name: mini)
    model = loud()
    got = ddpm.evaluate(model, "fashion-mnist", n=1100, seed=2)
    assert got == ddpm.test_loss(model, "fashion-mnist", n=1100, seed=2)
    assert (got["n"], got["seed"]) == (1100, 2) and "first 1100 test pictures of fashion-mnist" in got["pictures"]
    each = []
    for start, end in ((0, 1000), (1000, 1100)):  # in parts, each with noise of its own
        drawn = training.Noise(training.seed_of(2, "test", start), end - start)
        with torch.no_grad():
            each.append(ddpm.losses(model, data.to_unit(mini.test_images[start:end]), mini.test_labels[start:end],
                                    drawn)["loss"])
    each = torch.cat(each).double()
    assert got["loss"] == pytest.approx(each.mean().item(), rel=1e-6)
    assert got["standard_error"] == pytest.approx(each.std().item() / math.sqrt(1100), rel=1e-5)


def test_reproduce_trains_measures_and_writes_a_card(tmp_path, monkeypatch):
    config = TINY.replace(ema=0.5, T=3)
    monkeypatch.setitem(ddpm.PUBLISHED, "tiny", config)
    measured = []

    def evaluate(model, name, **options):
        measured.append((name, options))
        return {"loss": 0.5, "mean": ddpm.sample(model, 3, generator=generator(), steps=2).double().mean().item()}

    monkeypatch.setattr(ddpm, "evaluate", evaluate)
    out = tmp_path / "tiny"
    card = ddpm.reproduce("tiny", out, device="cpu")
    path = out / "tiny.safetensors"
    assert card == checkpoints.card(path) and ddpm.Config(**card["config"]) == config
    assert measured[0] == ("mnist-mini", {})  # all of it, as the configuration says
    assert measured[1][0] == "mnist-mini" and measured[1][1]["n"] <= 1000  # what the test of the card measures again
    model = checkpoints.load(path, "cpu")
    assert isinstance(model, ddpm.DDPM) and not model.training
    again = ddpm.sample(model, 3, generator=generator(), steps=2).double().mean().item()  # of the float16 weights
    assert again == pytest.approx(card["metrics"]["drawn"]["mean"], rel=1e-5)
    again = ddpm.test_loss(model, "mnist-mini", n=1000)
    assert again == {k: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v
                     for k, v in card["metrics"]["mini"].items()}
    assert (card["family"], card["seed"], card["steps"]) == ("ddpm", 0, 4)
    mini = data.load("mnist-mini")
    assert card["data_sha256"] == data.digest(mini.train_images, mini.train_labels)


@pytest.mark.parametrize("name", sorted(ddpm.PUBLISHED))
def test_settings_behind_published_networks(name):
    config = ddpm.PUBLISHED[name]
    network = ddpm.build(config).network
    assert config.ema and config.schedule != "sigmoid"
    assert config.data == ("fashion-mnist" if "fashion" in name else "mnist")
    if name == "ddpm-page":
        assert sum(p.numel() for p in network.parameters()) <= 150_000


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(("options", "what"), [
    ({"steps": 21}, "steps must be at most T = 20, got 21"),
    ({"steps": 0}, "steps must be at least 1, got 0"),
    ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
    ({"labels": 10}, "labels must lie in 0 to 9, got 10 to 10"),
    ({"labels": -1}, "labels must lie in 0 to 9, got -1 to -1"),
    ({"labels": torch.tensor([0, 1, 12])}, "labels must lie in 0 to 9, got 0 to 12"),
    ({"labels": torch.tensor([0, 1])}, r"labels must be whole numbers of shape \(3,\), got torch.int64 \(2,\)"),
    ({"labels": torch.zeros(3, 1).long()}, r"of shape \(3,\), got torch.int64 \(3, 1\)"),
    ({"labels": 3.0}, "labels must be whole numbers"),
    ({"labels": True}, "labels must be whole numbers"),
    ({"labels": torch.tensor([0.0, 1.0, 2.0])}, "labels must be whole numbers"),
    ({"labels": "3"}, "labels must be whole numbers from 0 to 9, one a picture, got '3'"),
    ({"labels": ["a", "b", "c"]}, "labels must be whole numbers from 0 to 9"),
    ({"guidance": -1.5}, r"guidance must lie in -1 \(no label\) to 20, got -1.5"),
    ({"guidance": 20.5}, "guidance must lie in .* got 20.5"),
    ({"guidance": math.nan}, "guidance must lie in .* got nan"),
    ({"eta": 1.5}, "eta must lie in 0 to 1, got 1.5"),
    ({"eta": -0.5}, "eta must lie in 0 to 1, got -0.5"),
    ({"variance": "learned"}, "unknown variance 'learned'. There are: posterior, beta"),
    ({"variance": "beta"}, "variance='beta' is DDPM's: it goes with eta=1"),
    ({"variance": "beta", "eta": 0.5}, "variance='beta' is DDPM's: it goes with eta=1"),
    ({"n": 0}, "n must be at least 1, got 0"),
    ({"n": 2.0}, "n must be a whole number, got 2.0"),
], ids=str)
def test_samples_that_cannot_be_are_refused(options, what):
    with pytest.raises(Error, match=what):
        ddpm.sample(loud(), **({"n": 3, "steps": 3, "generator": generator()} | options))


def test_guidance_and_labels_need_classes():
    bare = loud(BARE)
    for w in (2.0, -1.0):
        with pytest.raises(Error, match="guidance needs a network with classes: this one was trained without labels"):
            ddpm.sample(bare, 2, steps=2, guidance=w)
    with pytest.raises(Error, match="this network has no classes: call it without labels"):
        ddpm.sample(bare, 2, steps=2, labels=3)


@pytest.mark.parametrize("wrong", [
    noise(3)[:, 0], noise(3).flatten(1), torch.randn(3, 3, 28, 28), torch.randn(3, 1, 32, 32), pictures(3)[:, None],
    noise(3).numpy(), None, 3,
], ids=["no channel", "flat", "colour", "large", "uint8", "numpy", "None", "number"])
def test_a_start_that_is_no_noise_is_refused(wrong):
    with pytest.raises(Error, match=r"x_T must be a float tensor of shape \(n, 1, 28, 28\), got"):
        next(ddpm.denoise(loud(), wrong, 3, steps=2))


@pytest.mark.parametrize("t", [0, -1, 21, 1.5, True, None], ids=str)
def test_a_time_out_of_1_to_t_is_refused(t):
    with pytest.raises(Error, match=r"t runs from 1 to T = 20|t must be a whole number"):
        loud().predict_x0(noise(2), t, torch.tensor([1, 2]))


@pytest.mark.parametrize(("given", "what"), [
    ({"images": greys(64)[:, 0]}, "uint8"),
    ({"images": 2 * greys(64)[:, 0] - 1}, "uint8"),
    ({"images": pictures()[:, :27]}, r"expected pictures of shape \(n, 28, 28\), got \(64, 27, 28\)"),
    ({"images": pictures()[0]}, "uint8"),
    ({"images": pictures().numpy()}, "ndarray"),
    ({"images": pictures(15), "labels": labels_of(15)}, "batch_size=16 is more than the 15"),
    ({"labels": None}, "labels must be whole numbers from 0 to 9, one a picture, got None"),
    ({"labels": labels_of(63)}, r"labels must be whole numbers of shape \(64,\), got torch.int64 \(63,\)"),
    ({"labels": labels_of() + 1}, "labels must lie in 0 to 9, got 1 to 10"),
    ({"labels": labels_of() - 1}, "labels must lie in 0 to 9, got -1 to 8"),
    ({"labels": labels_of().float()}, "labels must be whole numbers"),
], ids=str)
def test_wrong_training_data_is_refused_before_anything_is_written(given, what, tmp_path):
    with pytest.raises(Error, match=what):
        fit(TINY, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("changes", "what"), [
    ({"schedule": "cosin"}, "unknown schedule 'cosin'. There are: linear, cosine, sigmoid. Did you mean 'cosine'"),
    ({"predict": "noise"}, "unknown kind of prediction 'noise'. There are: eps, x0, v"),
    ({"loss": "l3"}, "unknown loss 'l3'. There are: l2, l1"),
    ({"norm": "layer"}, "unknown norm 'layer'. There are: group, batch"),
    ({"T": 0}, "need T >= 1"),
    ({"T": -5}, "need T >= 1"),
    ({"T": 2.5}, "T takes a value of type int"),
    ({"classes": -1}, "classes >= 0"),
    ({"drop_label": 1.0}, "0 <= drop_label < 1"),
    ({"drop_label": -0.1}, "0 <= drop_label < 1"),
    ({"drop_label": math.nan}, "drop_label takes a finite number"),
    ({"guided": 1.0}, "0 <= guided < 1"),
    ({"guided": -0.1}, "0 <= guided < 1"),
    ({"guided": 0.5, "classes": 0}, "guided needs classes >= 1 and drop_label > 0, got 0 and 0.1"),
    ({"guided": 0.5, "drop_label": 0.0}, "guided needs classes >= 1 and drop_label > 0, got 10 and 0"),
    ({"measure_steps": 0}, "need measure_steps >= 1"),
    ({"measure_guidance": -2.0}, "measure_guidance in -1 to 20"),
    ({"measure_guidance": 30.0}, "measure_guidance in -1 to 20, got 20, 0.0 and 30"),
    ({"widths": (8, 0)}, "positive whole numbers"),
    ({"widths": 8}, "widths takes a value of type tuple"),
    ({"attention": 1}, "attention takes a value of type bool"),
    ({"predicts": "v"}, "unknown setting 'predicts'.*Did you mean 'predict'"),
    ({"data": "minst"}, "unknown data set 'minst'.*Did you mean 'mnist'"),
], ids=str)
def test_bad_configurations_are_refused(changes, what):
    with pytest.raises(Error, match=what):
        TINY.replace(**changes)


@pytest.mark.parametrize(("changes", "what"), [
    ({"widths": ()}, "at least one width"),
    ({"widths": (4, 4, 4)}, "28 pixels cannot be cut"),
    ({"patch": 3}, "28 pixels cannot be cut"),
    ({"patch": 0}, "patch >= 1"),
    ({"blocks": 0}, "blocks >= 1"),
    ({"embedding": 7}, "an even embedding"),
], ids=str)
def test_networks_that_cannot_be_built_are_refused(changes, what):
    with pytest.raises(Error, match=what):
        ddpm.build(TINY.replace(**changes))


def test_other_things_are_refused():
    model = loud()
    for ask, what in [
        (lambda: ddpm.evaluate(model, "minst"), "unknown data set 'minst'.*Did you mean 'mnist'"),
        (lambda: ddpm.evaluate(model, n=0), "n must be at least 1, got 0"),
        (lambda: ddpm.test_loss(model, "mnist-mini", n=1), "n must lie between 2 and the 2000 test pictures"),
        (lambda: ddpm.test_loss(model, "mnist-mini", n=2001), "n must lie between 2 and the 2000 test pictures"),
        (lambda: ddpm.reproduce("ddpm-pages", "nowhere"), "unknown published network 'ddpm-pages'"),
    ]:
        with pytest.raises(Error, match=what):
            ask()


def test_too_few_pictures_for_the_frechet_distance_say_how_many_are_needed():
    with pytest.raises(Error, match=r"needs at least 65 pictures.*got 64"):
        ddpm.evaluate(loud(), n=64, steps=1)


def test_guidance_without_a_label_has_nothing_to_exaggerate():
    model = ddpm.build(ddpm.Config(widths=(4, 4), embedding=4, T=20))
    noise = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Error, match="give labels with guidance=2"):
        list(ddpm.denoise(model, noise, steps=2, guidance=2.0))
    (*_, without), (*_, told) = (list(ddpm.denoise(model, noise, steps=2, guidance=w))[-1] for w in (0.0, -1.0))
    assert torch.equal(without, told)


def test_a_short_chain_is_measured_in_as_many_steps_as_it_has():
    model = ddpm.build(ddpm.Config(widths=(4, 4), embedding=4, T=10))
    assert ddpm.evaluate(model, n=70)["steps"] == 10


def test_pictures_out_of_range_are_refused():
    model = ddpm.build(ddpm.Config(widths=(4, 4), embedding=4, T=10))
    x0 = 2 * torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)) - 1
    eps = torch.ones_like(x0)
    assert torch.equal(model.noised(x0, 4, eps), model.schedule.q_sample(x0, 4, eps))
    with pytest.raises(Error, match=r"must lie in \[-1, 1\], got values from .* to 1.5"):
        model.noised(torch.where(x0 == x0.max(), 1.5, x0), 4, eps)
    with pytest.raises(Error, match=r"shape \(batch, 1, 28, 28\), got \(3, 784\)"):
        model.noised(x0.flatten(1), 4, eps.flatten(1))
