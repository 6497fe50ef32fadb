"""Data: every byte verified, every way a file can be wrong refused with one clear error, nothing half-written kept."""

import contextlib
import gzip
import hashlib
import http.server
import os
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gentut import Error, data

MNIST = Path(os.environ.get("GENTUT_DATA_DIR", "nowhere")) / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason="needs the MNIST files: set GENTUT_DATA_DIR")


def idx(array):
    """A uint8 array as the bytes of an IDX file."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


# --------------------------------------------------------------------------------------------------------- IDX files


arrays = st.sampled_from([1, 3]).flatmap(
    lambda ndim: npst.arrays(np.uint8, npst.array_shapes(min_dims=ndim, max_dims=ndim, min_side=0, max_side=6))
)


@given(arrays)
def test_idx_round_trip(array):
    back = data.read_idx(idx(array))
    assert back.dtype == np.uint8 and back.shape == array.shape and (back == array).all()
    assert back.flags.writeable  # torch.from_numpy wants it


@given(arrays, st.data())
def test_idx_of_any_other_length_is_refused(array, draw):
    raw = idx(array)
    with pytest.raises(Error, match=r"IDX"):
        data.read_idx(raw[: draw.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(Error, match="bytes of data"):
        data.read_idx(raw + draw.draw(st.binary(min_size=1, max_size=4)))


@given(arrays, st.integers(0, 15), st.integers(1, 255))
def test_a_flipped_header_byte_is_refused(array, place, flip):
    raw = bytearray(idx(array))
    place %= 4 + 4 * array.ndim
    raw[place] ^= flip
    try:
        back = data.read_idx(bytes(raw))
    except Error:
        return
    # only an empty array can have another shape and still the right number of bytes
    assert array.size == 0 and back.size == 0 and place >= 4


@given(st.binary(max_size=64))
def test_any_bytes_give_an_array_or_an_error(raw):
    with contextlib.suppress(Error):
        assert data.read_idx(raw).dtype == np.uint8


# --------------------------------------------------------------------------------- where the files come from: the tools


TINY = {
    data.TRAIN_IMAGES: idx(np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)),
    data.TRAIN_LABELS: idx(np.array([5, 0, 4], np.uint8)),
    data.TEST_IMAGES: idx(np.full((2, 28, 28), 7, np.uint8)),
    data.TEST_LABELS: idx(np.array([7, 2], np.uint8)),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """A mirror: the first part of the path says how it misbehaves."""

    def do_GET(self):
        _, how, file = self.path.split("/")
        self.server.asked.append(how)
        content = gzip.compress(TINY[file.removesuffix(".gz")])
        length = len(content)
        if how == "missing":
            return self.send_error(404)
        if how == "broken":
            return self.send_error(503)
        if how == "tampered":
            raw = bytearray(TINY[file.removesuffix(".gz")])
            raw[-1] ^= 1
            content = gzip.compress(bytes(raw))
            length = len(content)
        elif how == "portal":
            content = b"<html>please log in</html>"
            length = len(content)
        elif how == "cut":  # closes the connection half-way
            content = content[: length // 2]
        elif how == "liar":  # says that half is all
            length //= 2
        elif how == "silent":  # hangs up without a word
            return self.connection.shutdown(socket.SHUT_RDWR)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirrors(server, monkeypatch):
    """A function that makes data.load("mnist") look for the tiny files at the given mirrors, and no cache."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = s.getsockname()[1]
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("GENTUT_DATA_DIR", raising=False)

    def use(*hows):
        urls = [f"http://127.0.0.1:{closed if how == 'refused' else server.server_port}/{how}/" for how in hows]
        digests = {file: hashlib.sha256(raw).hexdigest() for file, raw in TINY.items()}
        monkeypatch.setitem(data.SOURCES, "mnist", data.Source(tuple(urls), digests))
        server.asked.clear()
        data.load.cache_clear()

    yield use
    data.load.cache_clear()


def in_cache():
    return sorted(p.name for p in data.cache_folder().rglob("*") if p.is_file())


def is_tiny(dataset):
    want = [data.read_idx(TINY[file]) for file in data.FILES]
    got = [dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels]
    dtypes = [torch.uint8, torch.int64, torch.uint8, torch.int64]
    return all(
        g.dtype == dtype and (g.numpy() == w).all() for g, w, dtype in zip(got, want, dtypes, strict=True)
    )


# ------------------------------------------------------------------------------- where the files come from: the network


def test_a_good_mirror_fills_the_cache_and_is_not_asked_again(mirrors, server):
    mirrors("good", "missing")
    assert is_tiny(data.load("mnist"))
    assert server.asked == ["good"] * 4
    assert in_cache() == sorted(f"{file}.gz" for file in TINY)
    data.load.cache_clear()
    assert is_tiny(data.load("mnist"))
    assert len(server.asked) == 4


@pytest.mark.parametrize("first", ["missing", "broken", "refused", "cut", "liar", "silent", "tampered", "portal"])
def test_a_bad_mirror_is_followed_by_the_next(mirrors, server, first):
    mirrors(first, "good")
    assert is_tiny(data.load("mnist"))
    assert server.asked == (["good"] if first == "refused" else [first, "good"]) * 4  # in order
    assert in_cache() == sorted(f"{file}.gz" for file in TINY)


def test_all_bad_mirrors_are_one_error_with_every_reason_and_nothing_kept(mirrors):
    hows = ["missing", "refused", "cut", "liar", "silent", "tampered", "portal"]
    mirrors(*hows)
    with pytest.raises(Error) as caught:
        data.load("mnist")
    text = str(caught.value)
    lines = [line for line in text.splitlines() if "127.0.0.1" in line and line.startswith("  ")]
    assert len(lines) == len(hows)
    for how, line in zip(hows, lines, strict=True):
        assert f"/{how}/{data.TRAIN_IMAGES}.gz: " in line
    for reason, line in [("404", lines[0]), ("refused", lines[1]), ("SHA-256", lines[5]), ("not an IDX", lines[6])]:
        assert reason in line
    assert f"Put {data.TRAIN_IMAGES}.gz into {data.cache_folder() / 'mnist'}" in text
    assert "GENTUT_DATA_DIR" in text and "mnist-mini" in text and "offline" in text
    assert in_cache() == []


def test_no_network_says_where_to_put_the_files(mirrors):
    mirrors("refused")
    with pytest.raises(Error, match=r"(?s)could not get .*Put .*\$GENTUT_DATA_DIR.*mnist-mini.*offline"):
        data.load("mnist")


def test_a_cache_that_cannot_be_written_is_an_error(mirrors, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    mirrors("good")
    with pytest.raises(Error, match="could not get"):
        data.load("mnist")


def test_a_file_left_by_a_killed_download_is_not_taken_for_the_data(mirrors):
    mirrors("good")
    folder = data.cache_folder() / "mnist"
    folder.mkdir(parents=True)
    for file in TINY:
        (folder / f"{file}.gz.1.part").write_bytes(b"half")
    assert is_tiny(data.load("mnist"))


# ----------------------------------------------------------------------------------- where the files come from: folders


def put(folder, spoil=None, pack=gzip.compress):
    """The tiny files in a folder mnist/, the training pictures spoilt by a function of their bytes."""
    (folder / "mnist").mkdir(parents=True)
    for file, raw in TINY.items():
        content = pack(raw)
        if spoil and file == data.TRAIN_IMAGES:
            content = spoil(content)
        name = f"{file}.gz" if content[:2] == b"\x1f\x8b" else file
        (folder / "mnist" / name).write_bytes(content)


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gz", "plain"])
def test_the_users_folder_comes_first(mirrors, server, tmp_path, monkeypatch, pack):
    mirrors("good")
    monkeypatch.setenv("GENTUT_DATA_DIR", str(tmp_path))
    put(tmp_path, pack=pack)
    put(data.cache_folder(), lambda raw: b"never read")
    assert is_tiny(data.load("mnist"))
    assert server.asked == []


def test_a_users_folder_without_the_file_is_passed_over(mirrors, server, tmp_path, monkeypatch):
    mirrors("good")
    monkeypatch.setenv("GENTUT_DATA_DIR", str(tmp_path))
    put(data.cache_folder())
    assert is_tiny(data.load("mnist")) and server.asked == []


SPOILS = {
    "gz cut off": (lambda raw: raw[:-9], "gzip"),
    "gz bit flipped": (lambda raw: raw[:20] + bytes([raw[20] ^ 4]) + raw[21:], "."),
    "other pictures": (lambda raw: gzip.compress(idx(np.zeros((3, 28, 28), np.uint8))), "SHA-256"),
    "not IDX": (lambda raw: b"\x89PNG and so on", "not an IDX"),
    "empty": (lambda raw: b"", "not an IDX"),
    "IDX cut off": (lambda raw: gzip.compress(TINY[data.TRAIN_IMAGES][:-1]), "bytes of data"),
    "IDX header cut off": (lambda raw: TINY[data.TRAIN_IMAGES][:9], "cut off in its header"),
}


@pytest.mark.parametrize("how", SPOILS)
def test_a_spoilt_file_of_the_users_is_refused_and_kept(mirrors, server, tmp_path, monkeypatch, how):
    spoil, reason = SPOILS[how]
    mirrors("good")
    monkeypatch.setenv("GENTUT_DATA_DIR", str(tmp_path))
    put(tmp_path, spoil)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Error, match=f"{data.TRAIN_IMAGES}.* was refused: .*{reason}"):
        data.load("mnist")
    assert sorted(tmp_path.rglob("*")) == before and server.asked == []


@pytest.mark.parametrize("how", SPOILS)
def test_a_spoilt_file_in_the_cache_is_refused_removed_and_said(mirrors, server, how):
    spoil, reason = SPOILS[how]
    mirrors("good")
    put(data.cache_folder(), spoil)
    with pytest.raises(Error, match=f"refused and removed from the cache: .*{reason}"):
        data.load("mnist")
    assert len(in_cache()) == 3
    assert is_tiny(data.load("mnist"))  # the next call heals it
    assert server.asked == ["good"]


def test_a_spoilt_cache_that_cannot_be_changed_is_refused(mirrors, monkeypatch):
    mirrors("good")
    put(data.cache_folder(), lambda raw: b"spoilt")

    def refuse(self, missing_ok=False):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(Error, match=r"was refused: it|was refused: not an IDX"):
        data.load("mnist")


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(Error, match=r"unknown data set 'minst'. There are: .*fashion-mnist.* Did you mean 'mnist'\?"):
        data.load("minst")


# -------------------------------------------------------------------------------------------------------- mnist-mini


def test_mnist_mini_is_what_it_was():
    mini = data.load("mnist-mini")
    assert mini.sha256 == "b1847cdde9392fc66a24fa8dec895897184e5a84529bb6500305a51df64959fe"
    assert mini.train_images.shape == (10_000, 28, 28) and mini.test_images.shape == (2_000, 28, 28)
    assert mini.train_images.dtype == mini.test_images.dtype == torch.uint8
    assert mini.train_labels.dtype == mini.test_labels.dtype == torch.int64
    assert mini.train_labels.bincount().tolist() == [1001, 1153, 973, 985, 944, 891, 1018, 1040, 982, 1013]
    assert mini.test_labels.bincount().tolist() == [187, 237, 207, 196, 196, 177, 218, 184, 198, 200]
    assert data.MINI.stat().st_size <= 2.5e6


@pytest.mark.parametrize("spoil", ["cut", "swapped", "empty", "short of one array"])
def test_a_spoilt_mnist_mini_is_refused(tmp_path, monkeypatch, spoil):
    path = tmp_path / "mini.npz"
    with np.load(data.MINI) as arrays:
        arrays = {k: arrays[k][:50] for k in arrays}
    if spoil == "short of one array":
        del arrays["test_labels"]
    np.savez(path, **arrays)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif spoil == "empty":
        path.write_bytes(b"")
    monkeypatch.setattr(data, "MINI", path)
    data.load.cache_clear()
    with pytest.raises(Error, match="is damaged.*install gentut again"):
        data.load("mnist-mini")


@needs_mnist
def test_mnist_mini_is_a_part_of_mnist():
    data.load.cache_clear()
    whole, mini = data.load("mnist"), data.load("mnist-mini")
    with np.load(data.MINI) as arrays:
        where = {part: torch.from_numpy(arrays[f"{part}_index"].astype(np.int64)) for part in ("train", "test")}
    for part, index in where.items():
        assert len(index.unique()) == len(index)
        assert (getattr(whole, f"{part}_images")[index] == getattr(mini, f"{part}_images")).all()
        assert (getattr(whole, f"{part}_labels")[index] == getattr(mini, f"{part}_labels")).all()


@needs_mnist
def test_a_real_file_cut_off_is_refused(tmp_path, monkeypatch):
    shutil.copytree(MNIST, tmp_path / "mnist")
    path = tmp_path / "mnist" / f"{data.TRAIN_LABELS}.gz"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-100])
    monkeypatch.setenv("GENTUT_DATA_DIR", str(tmp_path))
    data.load.cache_clear()
    with pytest.raises(Error, match=f"{data.TRAIN_LABELS}.gz was refused: it is no whole gzip file"):
        data.load("mnist")


# ------------------------------------------------------------------------------------------------ pictures and tensors


def test_digest_depends_on_values_shape_and_type():
    a = torch.arange(6, dtype=torch.uint8)
    others = [a.view(2, 3), a.long(), a.flip(0), torch.cat([a, a])]
    assert len({data.digest(t) for t in [a, *others]}) == 5
    assert data.digest(a, a) != data.digest(torch.cat([a, a]))
    assert data.digest(a.view(2, 3).T) == data.digest(a.view(2, 3).T.contiguous())


def test_to_unit():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1)
    x = data.to_unit(images)
    assert x.shape == (3, 1, 1, 1) and x.dtype == torch.float32
    assert torch.allclose(x.flatten(), torch.tensor([0, 0.2, 1])) and images.max() == 255
    for wrong in (images.float(), images[0], images.unsqueeze(0)):
        with pytest.raises(Error, match="expected a tensor of uint8 pictures"):
            data.to_unit(wrong)


@pytest.mark.parametrize(
    ("x", "what"),
    [
        (torch.zeros(1, 1, 28, 28, dtype=torch.uint8), "to_unit"),
        (np.zeros((1, 1, 28, 28), np.float32), "ndarray"),
        (torch.zeros(1, 28, 28), r"\(1, 28, 28\)"),
        (torch.zeros(1, 1, 28, 27), r"\(batch, 1, 28, 28\)"),
        (torch.zeros(1, 3, 28, 28), "shape"),
        (torch.full((1, 1, 28, 28), 1.01), "1.01"),
        (torch.full((1, 1, 28, 28), -0.01), "-0.01"),
        (torch.full((1, 1, 28, 28), float("nan")), "nan"),
        (torch.rand(1, 1, 28, 28) * 255, r"\[0, 1\]"),
    ],
)
def test_check_pictures_says_what_is_wrong(x, what):
    with pytest.raises(Error, match=what):
        data.check_pictures(x)


def test_check_pictures_lets_good_ones_pass():
    for x in (torch.rand(2, 1, 28, 28), torch.zeros(0, 1, 28, 28), torch.ones(1, 1, 28, 28).double()):
        assert data.check_pictures(x) is x


# ------------------------------------------------------------------------------------------------------------ binarise


def bits_digest(images, seed=0):
    return data.digest(data.binarise(images, seed).to(torch.uint8))


def test_the_fixed_binarisation_is_the_same_everywhere():
    images = data.load("mnist-mini").test_images
    assert bits_digest(images) == "11929ce0a599de85d8d50a402ac8d395b55e1974a4653bf2b56367b733e75839"
    assert bits_digest(images, seed=1) != bits_digest(images)


@needs_mnist
def test_the_fixed_binarisation_of_the_mnist_test_set():
    data.load.cache_clear()
    want = data.BINARISED_TEST_SHA256
    assert bits_digest(data.load("mnist").test_images) == want


def test_binarise_draws_white_as_often_as_grey_says():
    grey = torch.arange(256, dtype=torch.uint8).repeat(40_000 // 256 * 16, 1).unsqueeze(1)  # (n, 1, 256)
    x = data.binarise(grey)
    assert x.dtype == torch.float32 and x.shape == (len(grey), 1, 1, 256) and set(x.unique().tolist()) == {0, 1}
    p = torch.arange(256) / 255
    assert x[..., 0].max() == 0 and x[..., 255].min() == 1  # black and white stay what they are
    error = (p * (1 - p) / len(grey)).sqrt() + 1e-12
    assert ((x.mean((0, 1, 2)) - p).abs() / error).max() < 4.5
    with pytest.raises(Error, match="expected a tensor of uint8 pictures"):
        data.binarise(x)


def test_binarise_leaves_the_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    data.binarise(torch.zeros(2, 28, 28, dtype=torch.uint8))
    assert (torch.get_rng_state() == before[0]).all() and (np.random.get_state()[1] == before[1]).all()


# --------------------------------------------------------------------------------------------------------------- moons


def test_the_full_moon_is_a_symmetric_disc():
    full = data.moon([1.0])[0, 0]
    for other, near in ((full.flip(0), 1e-5), (full.flip(1), 1e-5), (full.T, 0.03)):  # sampled down, exact across
        assert torch.allclose(full, other, atol=near)
    assert full.sum().item() == pytest.approx(torch.pi * (0.36 * 28) ** 2, rel=0.002)
    assert full[13:15, 13:15].min() == 1 and full[0].max() == 0


def test_the_half_moon_is_the_right_half():
    half, full = data.moon([0.0, 1.0])[:, 0]
    assert half.sum() / full.sum() == pytest.approx(0.5, abs=0.01)
    assert torch.allclose(half + half.flip(1), full, atol=1e-5)  # two halves make a whole
    assert half[:, :13].max() == 0 and (half[:, 15:] == full[:, 15:]).all()


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([16, 28, 33]))
def test_a_moon_waxes(a, b, size):
    young, old = data.moon([min(a, b), max(a, b)], size)
    assert young.shape == (1, size, size) and young.dtype == torch.float32
    assert young.min() >= 0 and old.max() <= 1
    assert (young <= old + 1e-6).all()  # no pixel gets darker
    area = torch.pi * (0.36 * size) ** 2
    assert old.sum().item() == pytest.approx(area * (1 + max(a, b)) / 2, rel=0.005)


@pytest.mark.parametrize("phase", [[-0.01], [1.01], [float("nan")], [0.5, 2]])
def test_a_phase_outside_0_to_1_is_refused(phase):
    with pytest.raises(Error, match=r"phase must lie in \[0, 1\]"):
        data.moon(phase)
