"""The command line: `gentut train | sample | evaluate | reproduce | list`."""

import importlib
import math
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gentut import Error, checkpoints, choose, scale

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Train, measure and sample the models of the book.")
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:0; the GPU if there is one by default.")]


@app.command()
def train(
    chapter: Annotated[str, typer.Argument(help=f"One of: {', '.join(checkpoints.FAMILIES)}.")],
    scale_name: Annotated[str | None, typer.Option("--scale", help="test, cpu or gpu.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/CHAPTER by default.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in the folder.")] = False,
    device: Device = None,
    data: Annotated[str | None, typer.Option(
        metavar="NAME|FOLDER", help="A data set, or a folder of your own PNG and JPEG pictures.")] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Turn dark on light in the folder's pictures.")] = False,
):
    """Train a chapter's network into a folder that can be resumed."""
    module = _chapter(chapter)
    config, out, given = module.Config.preset(scale_name or scale()), out or Path("runs") / chapter, {}
    if data is not None:
        config, given = _own_data(chapter, config, data, invert, assignments or [], out)
    elif invert:
        raise Error("--invert turns the pictures of a folder: name it with --data")
    else:
        config = config.with_assignments(assignments or [])
    run = module.train(config, out=out, resume=resume, device=device, **given)
    if run.folder is None:
        return  # another process than the first: it has nothing to say
    for name, value in (run.history[-1] if run.history else {}).items():  # one stopped early has no row yet
        typer.echo(f"{name:>25} {_short(value)}")
    if not run.complete:
        raise typer.Exit(130)


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="A published network, or a path to NAME.safetensors.")],
    n: Annotated[int | None, typer.Option(help="Pictures to test on, or to draw; all, or 10,000.")] = None,
    data: Annotated[str | None, typer.Option(
        metavar="NAME|FOLDER", help="A data set or a folder; what it was trained on by default.")] = None,
    device: Device = None,
):
    """Measure a trained network: on test pictures, or by the pictures that it draws."""
    model = checkpoints.load(name, device)  # first: it tells a pickle from a file without a card
    card = checkpoints.card(name)
    if data is not None:
        from gentut import pictures

        data = pictures.choose_data(data, like=card["data"])
        if data.startswith(pictures.data.FOLDER):  # what is there now, whatever it was once
            found = pictures.read(*pictures.parse(data)[:2])
            data = found.dataset.name
            _report(found)
    metrics = _chapter(card["family"]).evaluate(model, data or card["data"], n=n)
    _print({"test": metrics})


@app.command()
def sample(
    name: Annotated[str, typer.Argument(help="A published network, or a path to NAME.safetensors.")],
    n: Annotated[int, typer.Option(help="How many pictures.")] = 64,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("samples.png"),
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
    device: Device = None,
):
    """Draw pictures from a trained network into one PNG sheet."""
    import torch

    if out.suffix.lower() != ".png":
        raise Error(f"--out must name a .png file, got {str(out)!r}")
    model = checkpoints.load(name, device)
    family = checkpoints.card(name)["family"]
    if not hasattr(_chapter(family), "sample"):
        raise Error(f"{name} is a {family}: it judges pictures and draws none")
    pictures = _chapter(family).sample(model, n, generator=torch.Generator().manual_seed(seed))
    _write_sheet(pictures, out)
    typer.echo(f"{n} pictures in {out}")


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="A published network.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them, one after the other.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for runs, weights and cards.")] = Path("runs/reproduce"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with runs that are there.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Replace published weights by better ones.")] = False,
    device: Device = None,
):
    """Train a published network again with its published settings, measure it, and compare it with its card."""
    known = {n: module for module in map(_chapter, checkpoints.FAMILIES) for n in module.PUBLISHED}
    if all_ == (name is not None):
        took = sum(checkpoints.card(n)["seconds"] for n in known if n in checkpoints.names())
        raise Error(f"name one published network ({', '.join(known)}), or say --all: "
                    f"by their cards, all {len(known)} took {took / 3600:.1f} hours")
    compared = []
    for each in known if all_ else [choose("published network", name, known)]:
        folder, before = out / each, checkpoints.card(each) if each in checkpoints.names() else None
        going_on = resume and (folder / "config.json").exists()
        card = known[each].reproduce(each, out=folder, resume=going_on, device=device)
        if card is None:
            return  # stopped, or another process than the first
        typer.echo(f"{each}: {card['seconds']:.0f} s on {card['device']}")
        _print(card["metrics"])
        if before:
            compared.append(f"{each:16} {checkpoints.headline_text(card)}; published: "
                            f"{checkpoints.headline_text(before)}, {before['seconds']:.0f} s on {before['device']}")
            typer.echo(compared[-1])
        if publish:
            typer.echo(checkpoints.publish(folder / f"{each}.safetensors"))
    if all_:
        typer.echo("\n".join(["", "all of them:", *compared]))


@app.command("list")
def list_():
    """List the chapters that can be trained and the published networks."""
    typer.echo("chapters: " + ", ".join(checkpoints.FAMILIES))
    for name in checkpoints.names():
        card = checkpoints.card(name)
        about = f"{name:16} {card['family']:10} {card['data']:12} {card['bytes'] / 1e6:5.2f} MB"
        typer.echo(f"{about}  {checkpoints.headline_text(card)}")


def _own_data(chapter, config, given, invert, assignments, out):
    """(configuration, what train is given besides) for --data: the name of a data set, or a folder of pictures."""
    from gentut import data, pictures

    name = pictures.choose_data(given)
    if data.has_labels(name):
        if invert:
            raise Error(f"--invert turns the pictures of a folder, and {given} is a data set of the book")
        return config.replace(data=name).with_assignments(assignments), {}
    if chapter == "classifier":
        raise Error("a classifier learns from labels, and a folder of pictures has none")
    found = pictures.read(given, invert=invert)
    config = found.settings(config).with_assignments(assignments)
    found.check(config, out)
    _report(found)
    return config, {"images": found.dataset.train_images}


def _report(found):
    """Say what was found in a folder of pictures."""
    if os.environ.get("RANK", "0") == "0":  # torchrun's other processes read the same
        for line in found.report():
            typer.echo(line, err=True)


def _write_sheet(pictures, path):
    """Pictures (n, 1, 28, 28) in [0, 1] as one PNG, as nearly square as n allows."""
    import matplotlib.image
    import torch

    n, _, height, width = pictures.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = torch.zeros(rows * columns, height, width)
    sheet[:n] = pictures[:, 0].cpu()
    sheet = sheet.view(rows, columns, height, width).transpose(1, 2).reshape(rows * height, columns * width)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(path, sheet.numpy(), cmap="gray", vmin=0, vmax=1)
    except OSError as why:
        raise Error(f"could not write {path}: {why.strerror or why}") from None


def _chapter(name):
    return importlib.import_module(f"gentut.{choose('chapter', name, checkpoints.FAMILIES)}")


def _print(metrics):
    for part, values in metrics.items():
        typer.echo(f"  {part}: " + ", ".join(f"{k} {_short(v)}" for k, v in values.items()))


def _short(value):
    """A number of three decimals, or four below 1; of a list, each."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.{4 if abs(value) < 1 else 3}f}" if isinstance(value, float) else str(value)


def main():
    """Run the command line: an Error is printed without a traceback, exit status 2."""
    try:
        app()
    except Error as why:
        print(f"gentut: {why}", file=sys.stderr)
        sys.exit(2)
