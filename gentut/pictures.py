"""Your own pictures: a folder of PNG and JPEG files as a data set on which the book's networks can be trained.

    gentut train vae --data drawings        data.load("folder:drawings")        pictures.read("drawings")

Every file becomes 28 x 28 greys: turned as its EXIF tag says, laid on white where it is transparent, scaled until its
longer side has 28 pixels, and padded to a square with the grey of its own edge, so that nothing is cut off or bent.
`invert` makes light strokes on dark of dark ones on light: MNIST is white on black. A file that is no whole picture is
named and left out. A tenth of the pictures is held out: training never sees them, `evaluate` measures on them.

The data set's name holds a digest of the pixels, so a run, and a trained network's card, know which pictures they mean:
`folder:/home/ada/drawings?invert=1&sha256=0123456789abcdef`.
"""

import hashlib
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gentut import Error, data, metrics, runs

SIZE = 28
SUFFIXES = (".png", ".jpg", ".jpeg")  # of the files that are read; others are left alone
LEAST = 20  # pictures below which there is nothing to learn from
NAMED = 10  # skipped files that a report names; of more it says how many
# A name as `name_of` writes it. The options come last, so a folder's name may hold a question mark.
PATTERN = re.compile(data.FOLDER + r"(.+?)(?:\?(invert=1)?&?(?:sha256=([0-9a-f]{16}))?)?", re.DOTALL)
TRAINING = {"mnist-mini": 10_000, "mnist": 60_000, "fashion-mnist": 60_000}  # training pictures in the book's data sets


@dataclass(frozen=True)
class Pictures:
    """What `read` found in a folder."""

    dataset: data.Dataset  # the pictures; its name says folder, options and digest, its labels are all 0
    path: Path
    invert: bool
    skipped: dict  # file, relative to the folder → what is wrong with it
    copies: int  # pictures left out because another has the same pixels
    others: int  # files that are neither PNG nor JPEG by name
    light: float  # share of the pictures whose edge is light rather than dark

    def report(self):
        """What a reader should know of the folder, a list of lines."""
        train, test = len(self.dataset.train_images), len(self.dataset.test_images)
        lines = [f"{self.path}: {train + test} pictures, {train} to train on and {test} held out"]
        if self.skipped:
            lines.append(skipped_text(self.skipped))
        if self.copies:
            lines.append(f"left out {self.copies} with the same pixels as another")
        if self.others:
            lines.append(f"left alone {self.others} that are not named {', '.join(SUFFIXES)}")
        if self.light > 0.5:
            what = "without --invert" if self.invert else "with --invert"
            lines.append(f"warning: {self.light:.0%} of the pictures have a light edge, but the book's settings are "
                         f"for light strokes on dark, as in MNIST. Try it {what}.")
        return lines

    def settings(self, config):
        """A preset (training.Config), made for a data set of the book, as a first choice for these pictures.

        As many updates as it makes on its own data; no more held out for validation than a tenth of the training
        pictures, and no batch of more than a quarter of them. A network that could be told labels has none.
        """
        n = len(self.dataset.train_images)
        own = (TRAINING[config.data] - config.validation) // config.batch_size
        validation = min(config.validation, n // 10)
        changes = {"steps": config.steps or config.epochs * own, "validation": validation,
                   "batch_size": min(config.batch_size, (n - validation) // 4)}
        if hasattr(config, "classes"):
            changes["classes"] = 0
        return config.replace(data=self.dataset.name, **changes)

    def check(self, config, out=None):
        """Raise Error unless a run with `config` can be made of these pictures, or gone on with in the folder `out`."""
        if config.data != self.dataset.name:
            raise Error(f"the pictures come from {self.path}, so data={config.data} cannot be set as well")
        if getattr(config, "classes", 0):
            raise Error(f"a folder of pictures has no labels: leave classes at 0, got {config.classes}")
        if out is None or not (Path(out) / "config.json").exists():
            return
        before = str(runs.read_json(Path(out) / "config.json").get("data", ""))
        if before != config.data and before.rpartition("sha256=")[0] == config.data.rpartition("sha256=")[0]:
            raise Error(f"the pictures in {self.path} have changed since the run in {out} began: their digest was "
                        f"{before[-16:]} and is {config.data[-16:]}. A run goes on with the same pictures only: put "
                        "them back, or begin another in another folder.")


def skipped_text(skipped):
    """Skipped files (name → reason) as one sentence that counts them and names the first."""
    named = [f"{file} ({why})" for file, why in list(skipped.items())[:NAMED]]
    more = [f"{len(skipped) - NAMED} more"] if len(skipped) > NAMED else []
    files = "file" if len(skipped) == 1 else "files"
    return f"skipped {len(skipped)} {files} that cannot be used: " + ", ".join(named + more)


# ------------------------------------------------------------------------------------------------------------- folders


def name_of(path, invert=False, digest=None):
    """The name by which data.load knows the pictures in a folder. digest: SHA-256 (hex) that their pixels must have."""
    options = [*(["invert=1"] if invert else []), *([f"sha256={digest[:16]}"] if digest else [])]
    return data.FOLDER + str(Path(path).absolute()) + ("?" + "&".join(options) if options else "")


def parse(name):
    """(folder, invert, first 16 digits of the digest or None) from a data set's name. Raises Error for another name."""
    found = PATTERN.fullmatch(str(name))
    if not found:
        raise Error(f"a folder's name as a data set is {data.FOLDER}PATH, got {name!r}")
    return Path(found[1]), bool(found[2]), found[3]


def choose_data(given, like=""):
    """The data set's name for what a user wrote: one that data.load knows, or the path of a folder.

    A folder is read as that of the name `like` was, inverted or not. Raises Error if it is neither.
    """
    if given in data.NAMES or str(given).startswith(data.FOLDER):
        return data.check_name(given)
    if Path(given).is_dir():
        return name_of(given, invert=like.startswith(data.FOLDER) and parse(like)[1])
    try:
        return data.check_name(given)
    except Error as why:
        raise Error(f"{why} There is no such folder either.") from None


def load(name):
    """The pictures of a folder as a data.Dataset, by its name. Warns of files that cannot be used.

    Raises Error if the name holds a digest and the pictures have another, and for whatever `read` refuses.
    """
    path, invert, digest = parse(name)
    found = read(path, invert=invert)
    if digest is None:
        if found.skipped:
            warnings.warn(f"{path}: {skipped_text(found.skipped)}", stacklevel=2)
        return found.dataset
    if not found.dataset.sha256.startswith(digest):
        raise Error(f"the pictures in {path} are not those that are meant: their digest is "
                    f"{found.dataset.sha256[:16]}, not {digest}. Name the folder (--data {path}) to take those that "
                    "are there now; a network may have seen some of them.")
    return found.dataset


def read(path, invert=False):
    """Read all pictures in a folder and the folders in it, and return a `Pictures`.

    The order of the pictures, and with it which are held out, is that of the hashes of their pixels: it does not depend
    on the files' names, and is as good as random. Raises Error if there is no such folder, or too few pictures in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise Error(f"{path} is a file; pictures are read from a folder" if path.exists() else
                    f"there is no folder {path}")
    files = [p for p in sorted(path.rglob("*"))
             if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)]
    named = [p for p in files if p.suffix.lower() in SUFFIXES]
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd tags and large pictures, which are welcome
        results = list(pool.map(lambda p: _picture_or_reason(p, invert), named))
    kept, skipped, copies = {}, {}, 0
    for file, result in zip(named, results, strict=True):
        if isinstance(result, str):
            skipped[file.relative_to(path).as_posix()] = result
            continue
        key = hashlib.sha256(result.tobytes()).digest()
        copies += key in kept
        kept[key] = result
    if len(kept) < LEAST:
        what = [f"{len(kept)} different pictures", f"{len(named)} files named {', '.join(SUFFIXES)}"]
        more = [skipped_text(skipped)] if skipped else []
        raise Error("; ".join([f"{path} holds too few pictures, at least {LEAST} are needed: {' in '.join(what)}",
                               *more]))
    images = torch.from_numpy(np.stack([kept[key] for key in sorted(kept)]))
    held, digest = max(2, len(images) // 10), data.digest(images)
    test, train = images[:held].clone(), images[held:].clone()
    labels = [torch.zeros(len(part), dtype=torch.int64) for part in (train, test)]
    dataset = data.Dataset(name_of(path, invert, digest), train, labels[0], test, labels[1], digest)
    edges = np.array([_edge(a) for a in images.numpy()])
    return Pictures(dataset, path, invert, skipped, copies, len(files) - len(named), float((edges > 127).mean()))


# ------------------------------------------------------------------------------------------------------------ one file


def picture(path, invert=False):
    """One PNG or JPEG file as uint8 (28, 28): see the top of this module. Raises Error with what is wrong with it."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            image.draft("L", (4 * SIZE, 4 * SIZE))  # a large JPEG need not be decoded to its last detail
            grey = _on_white(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        empty = not Path(path).stat().st_size
        raise Error("the file is empty" if empty else "there is no PNG or JPEG picture in it") from None
    except OSError as why:
        raise Error(why.strerror or str(why)) from None
    except Exception as why:  # spoilt bytes end in whatever error their decoder's author did not think of
        raise Error(f"{type(why).__name__}: {why}") from None
    scale = SIZE / max(grey.size)
    fitted = tuple(max(1, round(side * scale)) for side in grey.size)
    small = np.asarray(grey.resize(fitted, Image.Resampling.BILINEAR))  # takes the mean where it makes smaller
    padded = np.full((SIZE, SIZE), _edge(small), np.uint8)
    top, left = ((SIZE - side) // 2 for side in small.shape)
    padded[top : top + small.shape[0], left : left + small.shape[1]] = small
    if padded.min() == padded.max():
        raise Error("it shows nothing: all pixels have one grey")
    return 255 - padded if invert else padded


def _picture_or_reason(path, invert):
    try:
        return picture(path, invert)
    except Error as why:
        return str(why)


def _on_white(image):
    """A picture of any mode as one of 256 greys; what is transparent becomes white, as on paper."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits; converted by Pillow, all above 255 would be white
        return Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB").convert("L")


def _edge(a):
    """The median grey of a picture's edge, a whole number; a: uint8 (height, width)."""
    return int(np.median(np.concatenate([a[0], a[-1], a[:, 0], a[:, -1]])))


# -------------------------------------------------------------------------------------------------- drawn against real


def likeness(drawn, dataset):
    """How like a folder's held-out pictures drawn ones are: a dict.

    drawn: float32 (n, 1, 28, 28) in [0, 1]; n is at most the number of pictures held out, of which the first n are
    used. Pictures are compared by metrics.features. `drawn_by_drawn` is the share of drawn pictures whose nearest other
    picture is a drawn one, `real_by_real` the same of the held-out ones: both are near ½ where the two sets cannot be
    told apart, and 1 where each keeps to itself (Lopez-Paz and Oquab, arXiv:1610.06545; Xu et al., arXiv:1806.07755).
    `to_training` is the mean distance of a drawn picture from the nearest training picture, `held_out_to_training` that
    of the held-out ones: drawn pictures that are much nearer were learnt by heart. The features were learnt from
    digits, so the numbers are for comparing networks trained on one folder.
    """
    data.check_pictures(drawn)
    n, most = len(drawn), len(dataset.test_images)
    if not 2 <= n <= most:
        raise Error(f"n must lie between 2 and the {most} held-out pictures of {dataset.name}, got {n}")
    drawn, held, train = (metrics.features(x.cpu()) for x in (
        drawn, data.to_unit(dataset.test_images[:n]), data.to_unit(dataset.train_images)))

    def nearest(x, others):
        return torch.cat([torch.cdist(part, others).min(1).values for part in x.split(1000)])

    def apart(own, others):
        """Share of `own` that are nearer to another of `own` than to any of `others`; a tie counts half."""
        each = torch.cdist(own, own)
        inside, outside = each.fill_diagonal_(torch.inf).min(1).values, nearest(own, others)
        return ((inside < outside).double() + (inside == outside).double() / 2).mean().item()

    return {
        "drawn_by_drawn": apart(drawn, held), "real_by_real": apart(held, drawn),
        "to_training": nearest(drawn, train).mean().item(), "held_out_to_training": nearest(held, train).mean().item(),
        "n": n,
        "pictures": f"the first {n} test pictures of {dataset.name}",
    }
