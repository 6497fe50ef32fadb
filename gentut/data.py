"""Data sets as plain tensors, every byte of them verified.

`load(name)` gives uint8 pictures and int64 labels. `mnist-mini` is part of the package and needs no network. `mnist`
and `fashion-mnist` are the original IDX files, looked for in `$GENTUT_DATA_DIR`, then in the cache, then downloaded.
Whatever the source, the decompressed bytes must have the SHA-256 written here; anything else is refused.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import math
import os
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gentut import Error, choose

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@dataclass(frozen=True)
class Source:
    """Where the four IDX files of a data set come from, and the SHA-256 of each once decompressed."""

    mirrors: tuple
    sha256: dict


SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Source(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}
MINI = Path(__file__).parent / "embedded" / "mnist-mini.npz"
MINI_SHA256 = "b1847cdde9392fc66a24fa8dec895897184e5a84529bb6500305a51df64959fe"  # digest() of its four arrays
# digest() of binarise(the MNIST test pictures) as uint8: the one binarisation on which the book compares likelihoods
BINARISED_TEST_SHA256 = "2b9fb9ecb5bbee0095dad563d6c6f4e2c6a2c10f9d370dfe851f835624b91dc0"
NAMES = ("mnist-mini", *SOURCES)

SILENCE = 30  # seconds without a byte after which a mirror is given up ...
LONGEST = 900  # ... and for one file altogether: one that sends a byte now and then would never be silent
LARGEST = 2**26  # bytes of a file, packed or unpacked: the largest real one has 47 million
FOLDER = "folder:"  # how the name of a data set begins that is a folder of pictures: see gentut.pictures


@dataclass(frozen=True)
class Dataset:
    """Pictures uint8 (n, 28, 28), labels int64 (n,); `sha256` identifies all the bytes."""

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    sha256: str


def load(name="mnist-mini"):
    """Return the data set `name` as a `Dataset`: "mnist-mini", "mnist", "fashion-mnist" or "folder:PATH".

    The tensors are shared between calls: do not write into them. Raises Error for an unknown name, a file that is
    not what it should be, or data that can be had nowhere. Pictures of your own in a folder: see gentut.pictures.
    """
    if not has_labels(check_name(name)):
        from gentut import pictures

        return pictures.load(name)  # read anew each time: one's own folder changes
    return _load(name)


@functools.lru_cache(maxsize=2)
def _load(name):
    if name == "mnist-mini":
        try:
            with np.load(MINI) as arrays:
                parts = [arrays[key] for key in ("train_images", "train_labels", "test_images", "test_labels")]
        except Exception as why:  # one flipped bit may look like a password, a newer zip, an array without end, ...
            raise Error(f"{MINI} is damaged ({why}); install gentut again") from None
    else:
        parts = [read_idx(_file(name, file)) for file in FILES]
    tensors = [torch.from_numpy(p if p.ndim == 3 else p.astype(np.int64)) for p in parts]
    found = digest(*tensors)
    if name == "mnist-mini" and found != MINI_SHA256:
        raise Error(f"{MINI} is damaged: its arrays have the SHA-256 {found}, not {MINI_SHA256}; install gentut again")
    return Dataset(name, *tensors, found)


load.cache_clear = _load.cache_clear

def check_name(name):
    """Return the name of a data set that `load` knows; raises Error for another."""
    return name if str(name).startswith(FOLDER) else choose("data set", name, NAMES)


def has_labels(name):
    """False of a folder of pictures: nobody has said what they show."""
    return not name.startswith(FOLDER)


def digest(*tensors):
    """SHA-256 (hex) over the shape and bytes of the tensors, in order."""
    h = hashlib.sha256()
    for t in tensors:
        a = np.ascontiguousarray(t.detach().cpu().numpy())
        h.update(f"{a.dtype.str}{a.shape}".encode())
        h.update(a.data)
    return h.hexdigest()


# ------------------------------------------------------------------------------------------------ pictures and tensors


def check_images(images):
    """Raise Error unless images are a uint8 tensor (n, height, width)."""
    if not torch.is_tensor(images) or images.dtype != torch.uint8 or images.ndim != 3:
        what = f"{images.dtype} {tuple(images.shape)}" if torch.is_tensor(images) else type(images).__name__
        raise Error(f"expected a tensor of uint8 pictures of shape (n, height, width), got {what}")


def to_unit(images):
    """uint8 (n, 28, 28) in 0..255 → float32 (n, 1, 28, 28) in [0, 1], on the same device."""
    check_images(images)
    return images.unsqueeze(1).float().div_(255)


def to_signed(x):
    """Pictures in [0, 1] → [-1, 1], the range of networks that end in tanh or begin with noise around 0."""
    return 2 * x - 1


def from_signed(x):
    """Pictures in [-1, 1] → [0, 1]; what lies beyond is clipped."""
    return ((x + 1) / 2).clamp(0, 1)


def check_pictures(x, size=28):
    """Raise Error unless x is float (batch, 1, size, size) with values in [0, 1]; return x."""
    if not torch.is_tensor(x) or not x.is_floating_point():
        kind = x.dtype if torch.is_tensor(x) else type(x).__name__
        raise Error(f"pictures must be a float tensor with values in [0, 1], got {kind}; data.to_unit converts uint8")
    if x.ndim != 4 or x.shape[1:] != (1, size, size):
        raise Error(f"pictures must have shape (batch, 1, {size}, {size}), got {tuple(x.shape)}")
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):
        raise Error(f"pictures must lie in [0, 1], got values from {x.min().item():.4g} to {x.max().item():.4g}")
    return x


def binarise(images, seed=0):
    """Draw black-or-white pictures once and for all: P(1) = grey / 255, from `seed`.

    uint8 (n, 28, 28) → float32 0/1 (n, 1, 28, 28). The draw is integer arithmetic on numpy's frozen Mersenne Twister
    stream, so the same seed gives the same bits on every machine; the digest of the MNIST test set's is tested.
    """
    check_images(images)
    u = np.random.RandomState(seed).randint(0, 255, size=tuple(images.shape), dtype=np.uint8)  # 0..254
    return (images.cpu() > torch.from_numpy(u)).float().unsqueeze(1)


def moon(phase, size=28):
    """Draw moons by their phase: 0 is a half moon, 1 a full moon, in between a gibbous one.

    phase: float (batch,) in [0, 1]. Returns float32 (batch, 1, size, size) in [0, 1]. The disc has radius 0.36 of the
    picture's width; its dark limb is the half ellipse of half-width `phase` radii. A pixel is as bright as the part of
    it that is lit: exactly across, on eight lines down.
    """
    phase = torch.as_tensor(phase, dtype=torch.float32).reshape(-1, 1, 1)
    if phase.numel() and not (phase.min() >= 0 and phase.max() <= 1):
        raise Error(f"a moon's phase must lie in [0, 1], got {phase.min().item():.4g} to {phase.max().item():.4g}")
    radius, lines = 0.36 * size, 8
    x = torch.arange(size, dtype=torch.float32)[None, :] - size / 2  # left edges of the pixels, (1, size)
    y = (torch.arange(size * lines, dtype=torch.float32)[:, None] + 0.5) / lines - size / 2  # (size · lines, 1)
    half = (radius**2 - y**2).clamp(min=0).sqrt()  # half the width of the disc at this height
    lit = (torch.minimum(x + 1, half) - torch.maximum(x, -phase * half)).clamp(min=0)  # (batch, size · lines, size)
    return lit.view(-1, size, lines, size).mean(2).unsqueeze(1)


# --------------------------------------------------------------------------------------------------------- IDX files


def read_idx(raw):
    """IDX bytes (unsigned bytes of 1 or 3 dimensions) → numpy uint8 array. Raises Error if they are anything else."""
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != 8 or raw[3] not in (1, 3):
        raise Error(f"not an IDX file of unsigned bytes: it starts with {raw[:4].hex() or 'nothing'}")
    dims = raw[3]
    if len(raw) < 4 + 4 * dims:
        raise Error(f"IDX file cut off in its header: {len(raw)} bytes")
    shape = tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims))
    size = math.prod(shape)
    if len(raw) - 4 - 4 * dims != size:
        raise Error(f"IDX file of shape {shape} must have {size} bytes of data, this one has {len(raw) - 4 - 4 * dims}")
    try:
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape).copy()
    except ValueError as why:  # no pictures at all, of a size beyond every memory
        raise Error(f"IDX file of shape {shape}: {why}") from None


def cache_folder():
    """Where downloaded data is kept: `$XDG_CACHE_HOME/gentut` or ~/.cache/gentut."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gentut"


def _file(name, file):
    """The verified, decompressed bytes of one IDX file: from GENTUT_DATA_DIR, the cache, or a mirror."""
    folders = [cache_folder() / name]
    if os.environ.get("GENTUT_DATA_DIR"):
        folders.insert(0, Path(os.environ["GENTUT_DATA_DIR"]) / name)
    for folder in folders:
        for path in (folder / f"{file}.gz", folder / file):
            if path.is_file():
                try:
                    return _verified(name, file, path.read_bytes())
                except OSError as why:
                    raise Error(f"could not read {path}: {why.strerror or why}") from None
                except Error as why:
                    if folder == folders[-1]:
                        with contextlib.suppress(OSError):
                            path.unlink()  # a spoilt cache heals itself at the next call
                            raise Error(f"{path} was refused and removed from the cache: {why}. Try again.") from None
                    raise Error(f"{path} was refused: {why}") from None
    return _download(name, file)


def _verified(name, file, raw):
    """Decompress if need be; raise Error unless the SHA-256 is the known one."""
    if raw[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as f:
                raw = f.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as why:
            raise Error(f"it is no whole gzip file ({why})") from None
        if len(raw) > LARGEST:  # a small file can unpack to more than the memory holds
            raise Error(f"it unpacks to more than {LARGEST:,} bytes")
    got, want = hashlib.sha256(raw).hexdigest(), SOURCES[name].sha256[file]
    if got != want:
        try:
            read_idx(raw)
        except Error as why:
            raise Error(str(why)) from None
        raise Error(f"it has the SHA-256 {got}, not {want}")
    return raw


def _download(name, file):
    """Fetch one file from the first mirror that gives the right bytes; keep it in the cache."""
    try:
        import pooch  # noqa: F401 (what _fetch downloads with)
    except ImportError:
        reasons = ["the package pooch, which downloads, is not installed"]
    else:
        reasons = []
        folder = cache_folder() / name
        for mirror in SOURCES[name].mirrors:
            part = folder / f"{file}.gz.{os.getpid()}.part"  # another process may be fetching the same file
            try:
                folder.mkdir(parents=True, exist_ok=True)
                content = _fetch(f"{mirror}{file}.gz")
                raw = _verified(name, file, content)
                part.write_bytes(content)
                os.replace(part, folder / f"{file}.gz")
                return raw
            except Exception as why:  # every kind of failure of one mirror is a reason to try the next
                reasons.append(f"{mirror}{file}.gz: {why}")
            finally:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
    raise Error(
        f"could not get {file} of {name}:\n  " + "\n  ".join(reasons) + f"\nPut {file}.gz into {cache_folder() / name} "
        f"or into a folder {name}/ of $GENTUT_DATA_DIR, or use 'mnist-mini', which works offline."
    )


class _Limited(io.BytesIO):
    """Takes what a mirror sends, up to `most` bytes."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def write(self, content):
        if self.tell() + len(content) > self.most:
            raise Error(f"it sends more than {self.most:,} bytes")
        return super().write(content)


def _fetch(url):
    """The bytes at `url`, in good time and of a size that can be. Raises whatever went wrong."""
    import pooch

    content, troubles = _Limited(LARGEST), []

    def work():
        try:
            pooch.HTTPDownloader(progressbar=False, timeout=SILENCE)(url, content, None)
        except Exception as why:
            troubles.append(why)

    # In a thread of its own: no socket's time limit covers a name server without an answer, or a byte now and then.
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(LONGEST)
    if worker.is_alive():
        content.most = 0  # ends it at the next byte
        raise Error(f"it was not all there after {LONGEST:g} s")
    if troubles:
        raise troubles[0]
    return content.getvalue()
