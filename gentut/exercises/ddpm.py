"""Checks of the DDPM chapter's exercises."""

import math

import torch

from gentut import diffusion, unet
from gentut.exercises import Wrong, call, compare, exercise


def _recognise(answer, expected, shown, slips):
    """Raise Wrong with the words beside the first of `slips`, (tensor, words), that a wrong answer is equal to."""
    if not torch.is_tensor(answer) or answer.is_complex():
        return
    answer = answer.detach()
    for value, words in ((expected, None), *slips):
        if answer.shape == value.shape and torch.allclose(answer.to(value), value, rtol=1e-4, atol=1e-4):
            if words:
                raise Wrong(f"For {shown} {words}")
            return


@exercise("ddpm.embedding")
def _embedding(attempt):
    for t, width, hint in (
        ([0], 4, "At t = 0 every sine is 0 and every cosine 1: the sines stand first."),
        ([1], 4, "The frequencies are 1 and 10,000^(-1/2) = 0.01."),
        ([1, 2, 500, 1000], 8, "One row for each time, one frequency for each sine and its cosine."),
        ([7, 300], 64, "Frequency k is 10,000^(-2k / width), k = 0, ..., width / 2 - 1."),
    ):
        t, half = torch.tensor(t), width // 2
        shown, expected = f"t = {t.tolist()} and width = {width}", unet.time_embedding(t, width)
        answer, k = call(attempt, t.clone(), width, shown=shown), torch.arange(half)

        def rows(frequency, t=t):
            return t.float()[:, None] * frequency

        angle, sines, cosines = rows(10_000.0 ** (-k / half)), expected[:, :half], expected[:, half:]
        last = rows(torch.exp(-math.log(10_000) * k / (half - 1)))
        _recognise(answer, expected, shown, (
            (torch.cat([cosines, sines], 1), "the cosines stand first. Sines were asked first, then cosines."),
            (torch.stack([sines, cosines], 2).flatten(1), "sines and cosines alternate. All sines were asked first, "
             "then all cosines."),
            (torch.cat([last.sin(), last.cos()], 1), "the lowest frequency is 1/10,000: you divided k by "
             "width / 2 - 1. Divide by width / 2."),
            (torch.cat([v := rows(10_000.0 ** (-k / width)), v], 1).sin(), "there are only sines."),
            (torch.cat([angle.sin(), angle.sin()], 1), "there are only sines: the second half are cosines."),
            (torch.cat([(v := rows(10_000.0 ** (-k / width))).sin(), v.cos()], 1), "the frequencies fall half as "
             "fast as they should: the exponent is -2k / width."),
            (torch.cat([(v := rows(10_000.0 ** (k / half))).sin(), v.cos()], 1), "the frequencies rise. They fall, "
             "from 1 down: mind the sign of the exponent."),
            (torch.cat([(v := 2 * math.pi * angle).sin(), v.cos()], 1), "there is a 2π too much: the angle is t "
             "times the frequency."),
            (expected.T, "this is the right table on its side: one row for each time was asked."),
        ))
        compare(answer, expected, shown, hint, tolerance=1e-3)  # an angle of 1000 in float32 has an error of 1e-4


@exercise("ddpm.v")
def _v(attempt):
    g = torch.Generator().manual_seed(0)
    for a, hint in (
        ([0.36, 0.36], "Here √ᾱ = 0.6 and √(1 - ᾱ) = 0.8."),
        ([1.0, 1.0], "At ᾱ = 1 there is no noise: x_t is the data."),
        ([0.0, 0.0], "At ᾱ = 0 there is only noise, and v is -x_0: nothing may be divided by √ᾱ."),
        ([0.9, 0.2], "Each picture has an ᾱ of its own."),
    ):
        a = torch.tensor(a).view(-1, 1, 1, 1)
        x0, eps = torch.randn(2, len(a), 1, 4, 4, generator=g)
        x_t, v = a.sqrt() * x0 + (1 - a).sqrt() * eps, diffusion.target("v", x0, eps, a)
        shown = f"ᾱ = {[round(value, 2) for value in a.flatten().tolist()]}"
        answer = call(attempt, v.clone(), x_t.clone(), a.clone(), shown=shown)
        if torch.is_tensor(answer) and not answer.isfinite().all():
            raise Wrong(f"For {shown} finite numbers were expected. {hint}")
        more, less = a.sqrt(), (1 - a).sqrt()
        _recognise(answer, x0, shown, (
            (eps, "this is the noise. Asked was the data, x_0."),
            (more * x_t + less * v, "the sign of v is wrong: v has -√(1 - ᾱ) x_0 in it."),
            (less * x_t - more * v, "the two factors are swapped: √ᾱ goes with x_t."),
            (a * x_t - (1 - a) * v, "the square roots are missing."),
            ((x_t - less * v) / more, "v was taken for the noise: this is x_0 from ε."),
            (v, "the prediction was given back as it is: a network that predicts v does not give x_0."),
        ))
        compare(answer, x0, shown, hint)


@exercise("ddpm.ddim")
def _ddim(attempt):
    g = torch.Generator().manual_seed(0)
    both = "First the guess of x_0, with ᾱ_t; then back to the noise of s, with ᾱ_s and the same ε."
    for a_t, a_s, hint in (
        (0.25, 0.64, both),
        (0.36, 1.0, "ᾱ_s = 1 is s = 0: what is left is the guess of x_0."),
        (0.5, 0.5, "With ᾱ_s = ᾱ_t nothing may change."),
        (0.0025, 0.9, both),
    ):
        x_t, eps = torch.randn(2, 3, 1, 4, 4, generator=g)
        a, b = torch.tensor([a_t, a_s])
        shown = f"ᾱ_t = {a_t:g} and ᾱ_s = {a_s:g}"
        answer = call(attempt, x_t.clone(), eps.clone(), a.clone(), b.clone(), shown=shown)
        x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
        expected = b.sqrt() * x0 + (1 - b).sqrt() * eps
        kept = a / b  # the share of x_s that is left in x_t
        mean = kept.sqrt() * (1 - b) / (1 - a) * x_t + b.sqrt() * (1 - kept) / (1 - a) * x0
        swapped = a.sqrt() * (x_t - (1 - b).sqrt() * eps) / b.sqrt() + (1 - a).sqrt() * eps
        _recognise(answer, expected, shown, (
            (x0, "this is the guess of x_0. The step goes to s only: put the noise of s back."),
            (b.sqrt() * x0, "the noise of s is missing: √(1 - ᾱ_s) ε."),
            (b.sqrt() * x0 + (1 - a).sqrt() * eps, "x_s has the noise of t: its factor is √(1 - ᾱ_s)."),
            (b.sqrt() * x0 + (1 - b) * eps, "the square root of 1 - ᾱ_s is missing."),
            (b * x0 + (1 - b).sqrt() * eps, "the square root of ᾱ_s is missing."),
            (swapped, "this is a step from s to t: ᾱ_t and ᾱ_s are swapped."),
            (mean, "this is the mean of the posterior, DDPM's step without its noise. DDIM puts all of ε back."),
            (x_t - (1 - a).sqrt() * eps, "the guess of x_0 was not divided by √ᾱ_t, and no noise put back."),
            ((b / a).sqrt() * x_t, "x_t was only made larger: take its noise out, and put that of s in."),
        ))
        compare(answer, expected, shown, hint, tolerance=1e-3)


@exercise("ddpm.guidance")
def _guidance(attempt):
    cond, uncond = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for w, hint in (
        (2.0, "(1 + w) times the one, minus w times the other."),
        (0.0, "w = 0 is the plain conditional network."),
        (-1.0, "w = -1 is the network without a label."),
        (0.5, "(1 + w) times the one, minus w times the other."),
    ):
        shown = f"w = {w:g}"
        answer = call(attempt, cond.clone(), uncond.clone(), w, shown=shown)
        expected = (1 + w) * cond - w * uncond
        _recognise(answer, expected, shown, (
            (uncond + w * (cond - uncond), "this is the other convention, where 1 is the plain conditional network: "
             "here that is w = 0."),
            ((1 + w) * uncond - w * cond, "the two are swapped: it goes away from the prediction without a label."),
            ((1 + w) * cond + w * uncond, "the prediction without a label is subtracted, not added."),
            ((cond + w * uncond) / (1 + w) if w != -1 else cond, "this lies between the two. Guidance goes beyond."),
            (cond - w * uncond, "the two factors must sum to 1: 1 + w and -w."),
            (w * (cond - uncond), "this is only the label's part. It is added to the prediction."),
            (expected.clamp(-1, 1), "you clipped the prediction. What is clipped is the guess of x_0, later."),
        ))
        compare(answer, expected, shown, hint)


class _Watched:
    """A model that depends on all it is given, and remembers what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, x_t, t):
        self.calls.append((x_t, t))
        return 0.5 * x_t + t.float().view(-1, 1, 1, 1) / 10


@exercise("ddpm.loss")
def _loss(attempt):
    g = torch.Generator().manual_seed(0)
    alpha_bar = diffusion.Schedule.cosine(10).alpha_bar.float()
    for t, size, hint in (
        ([4], 4, "One picture, and one number for it."),
        ([1, 10, 5], 4, "Each picture has a time of its own: alpha_bar[t] must multiply (batch, 1, height, width)."),
        ([10, 1, 8, 3, 5, 2, 9, 6], 8, "Each picture has a time of its own, and here there are as many pictures as "
         "columns: look at the shape of alpha_bar[t]."),
    ):
        t = torch.tensor(t)
        x0, eps = torch.randn(2, len(t), 1, size, size, generator=g)
        shown = f"{len(t)} picture{'s' if len(t) > 1 else ''} of {size} x {size} and t = {t.tolist()}"
        model, plain, wide = _Watched(), _Watched(), len(t) == size
        answer = call(attempt, model, x0.clone(), t.clone(), eps.clone(), alpha_bar.clone(), shown=shown)

        def of(x_t, at=t, target=eps, power=2, plain=plain):
            return (plain(x_t, at) - target).abs().pow(power).flatten(1).mean(1)

        a, before, columns = alpha_bar[t].view(-1, 1, 1, 1), alpha_bar[t - 1].view(-1, 1, 1, 1), alpha_bar[t]
        x_t, early, mixed = (v.sqrt() * x0 + (1 - v).sqrt() * eps for v in (a, before, columns if wide else a))
        slips = [
            (of(x_t) * x0[0].numel(), "this is the sum over the pixels. Take their mean, as gentut.ddpm does."),
            (of(x_t).mean(), "this is the mean over the batch. One number for each picture was asked."),
            (of(x_t, power=1), "these are absolute differences: L_simple squares them."),
            (of(x_t).sqrt(), "you took a square root. The loss is the mean of the squares itself."),
            (of(x_t, target=x0), "the prediction was compared with x_0. This network predicts the noise."),
            (of(x_t, target=x_t), "the prediction was compared with x_t. This network predicts the noise."),
            ((eps - x0).square().flatten(1).mean(1), "the network is not in this loss."),
            ((x_t - x0).square().flatten(1).mean(1), "the network is not in this loss: nothing would be learned."),
            (of(early), "x_t was made with ᾱ of t - 1: index t of alpha_bar is t, index 0 the data."),
            (of(x_t, t - 1), "the network was told t - 1. Times run from 1 to T, and it is given t."),
            (of(a * x0 + (1 - a) * eps), "the square roots are missing in x_t."),
            (of((1 - a).sqrt() * x0 + a.sqrt() * eps), "√ᾱ_t goes with x_0 and √(1 - ᾱ_t) with the noise."),
            (of(x0), "the network was given x_0. It learns from x_t."),
            (of(x0 + eps), "the noise was added at full strength. x_t is √ᾱ_t x_0 + √(1 - ᾱ_t) ε."),
            (of(mixed), "alpha_bar[t] multiplied columns, not pictures: it wants the shape (batch, 1, 1, 1)."),
        ]
        _recognise(answer, of(x_t), shown, slips)
        if not model.calls:
            raise Wrong(f"For {shown} the network was never asked: nothing could be learned from this loss.")
        compare(answer, of(x_t), shown, hint)
