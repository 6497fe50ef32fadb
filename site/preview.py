"""Show a chapter's widgets without building the book: `python site/preview.py markov`.

The page, _build/preview/book/markov.html, has the widgets as their constructors make them, and the loader of the
published site. Browser tests run on it with GENTUT_SITE=_build/preview; what they check of the rest of a page needs the
built book. A widget that shows a network gets the published one, or that of a weights file with its card:
`python site/preview.py pixelcnn runs/mine/weights.safetensors`.
"""

import json
import shutil
import sys
from pathlib import Path

from ipywidgets.embed import dependency_state

import gentut
from gentut import checkpoints, data, games, points, replays, widgets

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "_build" / "preview"
STATE, VIEW = ("application/vnd.jupyter.widget-" + kind + "+json" for kind in ("state", "view"))
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Widgets of the chapter {chapter}</title>
<style>:root {{ color-scheme: light dark }} main {{ max-width: 720px; margin: 1rem auto; padding: 0 16px }} body {{ margin: 0 }}</style>
</head><body><main><article class="bd-article"><h1>{chapter}</h1>{views}</article></main>
<script type="{state_type}">{state}</script>
<script src="../_static/anywidget-lite.js"></script></body></html>
"""  # noqa: E501


def latent_grid(model):
    """LatentGrid as the VAE chapter makes it."""
    digits = data.load("mnist-mini")
    return widgets.LatentGrid.from_model(model, images=digits.test_images, labels=digits.test_labels)


# Widgets that need a network: the published one, and what makes them of it. MoonMorph's are trained in its notebook.
FROM_NETWORK = {
    "LatentGrid": ("vae-2d", latent_grid),
    "PixelSampler": ("pixelcnn-page", lambda model: widgets.PixelSampler.from_model(model)),
    "LatentWalk": ("dcgan", lambda model: widgets.LatentWalk.from_model(model)),
    "ReverseDiffusion": ("ddpm-page", lambda model: widgets.ReverseDiffusion.from_model(model)),
}
ELSEWHERE = ("pack", "MoonMorph")


def gan_replay():
    """GanReplay as the GAN chapter makes it; playing the four games takes about half a minute."""
    return widgets.GanReplay.from_records({
        f"{dim}-D, {kind}": games.play(getattr(games.Game, kind)(dim), target)
        for dim, target in ((1, games.pair()), (2, games.ring())) for kind in ("healthy", "collapsed")
    })


def noising_steps():
    """NoisingSteps as the diffusion chapter makes it: the first test digit of each class."""
    digits = data.load("mnist-mini")
    first = [(digits.test_labels == k).nonzero()[0, 0].item() for k in range(10)]
    return widgets.NoisingSteps.from_images(digits.test_images[first], digits.test_labels[first])


def diffusion_field():
    """DiffusionField as the diffusion chapter makes it; training the network takes some seconds."""
    cloud = points.s_curve(10_000, generator=0)
    net, _ = points.train(cloud, steps=1500)
    return widgets.DiffusionField.from_net(net, cloud)


def training_replay():
    """TrainingReplay as the VAE chapter makes it."""
    return widgets.TrainingReplay.from_replays({
        "healthy": replays.load("vae-healthy"), "collapsed: β = 40": replays.load("vae-collapsed"),
    })


# Widgets of something that is made here.
PLAYED = {"GanReplay": gan_replay, "NoisingSteps": noising_steps, "DiffusionField": diffusion_field,
          "TrainingReplay": training_replay}
CHAPTERS = {"games": "gan", "points": "diffusion"}  # modules whose widgets belong to another one's chapter


def make(name, weights=None):
    """One widget."""
    if name not in FROM_NETWORK:
        return PLAYED.get(name, getattr(widgets, name))()
    network, of = FROM_NETWORK[name]
    return of(checkpoints.load(weights or network, "cpu"))


def main(chapter, weights=None):
    """Write the preview of one chapter's widgets."""
    homes = {name: CHAPTERS.get(home, home) for name, home in widgets._HOMES.items() if name not in ELSEWHERE}
    gentut.choose("chapter", chapter, sorted(set(homes.values())))
    shown = [make(name, weights) for name, home in homes.items() if home == chapter]
    state = {"version_major": 2, "version_minor": 0, "state": dependency_state(shown, drop_defaults=False)}
    tags = {w: f'<script type="{VIEW}">{json.dumps({"model_id": w.model_id})}</script>' for w in shown}
    views = "".join(f"<h2>{type(w).__name__}</h2>{tag}" for w, tag in tags.items())
    (OUT / "book").mkdir(parents=True, exist_ok=True)
    (OUT / "_static").mkdir(exist_ok=True)
    shutil.copy(ROOT / "site" / "static" / "anywidget-lite.js", OUT / "_static")
    text = json.dumps(state).replace("</", "<\\/")
    (OUT / "book" / f"{chapter}.html").write_text(
        PAGE.format(chapter=chapter, views=views, state=text, state_type=STATE), encoding="utf-8"
    )
    (OUT / "index.html").write_text("<!doctype html><title>Preview</title>", encoding="utf-8")
    print(OUT / "book" / f"{chapter}.html")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: python site/preview.py CHAPTER [WEIGHTS]")
    try:
        main(*sys.argv[1:])
    except gentut.Error as why:
        raise SystemExit(str(why)) from None
