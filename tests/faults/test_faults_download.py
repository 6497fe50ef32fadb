"""Mirrors that misbehave: the next one is asked, in good time; if there is none, one error says what each one did."""

import contextlib
import gzip
import hashlib
import http.server
import re
import socket
import struct
import threading
import time

import numpy as np
import pytest
from harm import SOAK, chance

from gentut import Error, data

IMAGES = np.arange(5 * 784, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)
RAW = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in IMAGES.shape) + IMAGES.tobytes()
PACKED = gzip.compress(RAW)
FILE = data.TRAIN_IMAGES
REDIRECTS = ("301", "302", "303", "307", "308")
# how each mirror answers, and what of it must stand in the error
HOWS = {
    "stalls": "timed out", "stalls-before-the-headers": "timed out", "drips": "not all there after",
    "drips-headers": "not all there after|timed out", "resets": "[Rr]eset|aborted",
    "resets-half-way": "[Rr]eset|broken", "says-more-than-it-has": "IncompleteRead|no whole gzip",
    "says-less-than-it-has": "no whole gzip", "never-ends": "sends more than", "says-nonsense-for-a-length": ".",
    "says-a-negative-length": ".", "sends-a-bomb": "unpacks to more than", "redirects-for-ever": "redirects",
    "redirects-to-a-file": "file:", "redirects-to-nobody": "refused|Max retries", "redirects-to-nothing": ".",
    "speaks-no-http": ".", "sends-endless-headers": ".", "sends-nothing": "not an IDX",
    "sends-other-pictures": "SHA-256", "says-it-is-packed-twice": ".", "hangs-up": "closed|aborted|disconnected",
    "forbids": "403", "lies-about-chunks": ".",
}  # fmt: skip
SLOW = ("stalls", "drips", "stalls-before-the-headers", "drips-headers")


class Mirror(http.server.BaseHTTPRequestHandler):
    """The first part of the path says how it misbehaves."""

    def do_GET(self):
        with contextlib.suppress(OSError):
            how = self.path.split("/")[1]
            getattr(self, how.replace("-", "_"), self.plain)(how)
        self.close_connection = True

    def head(self, length, status=200, **more):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def plain(self, how):
        if how in REDIRECTS:
            return self.head(0, int(how), Location=f"/good/{FILE}.gz")
        self.head(len(PACKED))
        self.wfile.write(PACKED)

    def wait(self):
        self.server.over.wait(60)

    def stalls(self, how):
        self.head(len(PACKED))
        self.wfile.write(PACKED[:99])
        self.wait()

    def stalls_before_the_headers(self, how):
        self.wait()

    def drip(self, content):
        for i in range(len(content)):
            self.wfile.write(content[i : i + 1])
            if self.server.over.wait(0.02):
                return

    def drips(self, how):
        self.head(len(PACKED))
        self.drip(PACKED)

    def drips_headers(self, how):
        self.drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 3000)

    def reset(self):
        # close at once, with a reset instead of a goodbye
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def resets(self, how):
        self.reset()

    def resets_half_way(self, how):
        self.head(len(PACKED))
        self.wfile.write(PACKED[: len(PACKED) // 2])
        time.sleep(0.05)
        self.reset()

    def says_more_than_it_has(self, how):
        self.head(len(PACKED) + 1000)
        self.wfile.write(PACKED)

    def says_less_than_it_has(self, how):
        self.head(len(PACKED) - 7)
        self.wfile.write(PACKED)

    def never_ends(self, how):
        self.head(None)
        while not self.server.over.is_set():
            self.wfile.write(bytes(65536))

    def says_nonsense_for_a_length(self, how):
        self.head("plenty")
        self.wfile.write(PACKED[:-1])

    def says_a_negative_length(self, how):
        self.head(-5)
        self.wfile.write(PACKED[:-1])

    def sends_a_bomb(self, how):
        self.head(len(self.server.bomb))
        self.wfile.write(self.server.bomb)

    def redirects_for_ever(self, how):
        self.head(0, 302, Location=self.path)

    def redirects_to_a_file(self, how):
        self.head(0, 302, Location="file:///etc/hostname")

    def redirects_to_nobody(self, how):
        self.head(0, 302, Location=f"http://127.0.0.1:{self.server.closed}/")

    def redirects_to_nothing(self, how):
        self.head(0, 302, Location="http://")

    def speaks_no_http(self, how):
        self.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n" + bytes(99))

    def sends_endless_headers(self, how):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for i in range(5000):
            self.wfile.write(b"X-%d: a\r\n" % i)

    def sends_nothing(self, how):
        self.head(0)

    def sends_other_pictures(self, how):
        other = gzip.compress(RAW[:-1] + bytes([RAW[-1] ^ 1]))
        self.head(len(other))
        self.wfile.write(other)

    def says_it_is_packed_twice(self, how):
        self.head(len(PACKED) - 9, Content_Encoding="gzip, gzip")
        self.wfile.write(PACKED[:-9])

    def hangs_up(self, how):
        self.connection.shutdown(socket.SHUT_RDWR)

    def forbids(self, how):
        self.send_error(403)

    def lies_about_chunks(self, how):
        self.head(None, Transfer_Encoding="chunked")
        self.wfile.write(b"ffffffff\r\n" + PACKED[:500])

    def log_message(self, *args):
        pass


@pytest.fixture
def mirrors(monkeypatch):
    """A function that makes data._file ask the given mirrors, impatiently and with little room."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server, socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        server.closed = s.getsockname()[1]  # bound, but nobody listens
        server.over, server.bomb, server.daemon_threads = threading.Event(), gzip.compress(bytes(3_000_000)), True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")
        monkeypatch.delenv("GENTUT_DATA_DIR", raising=False)
        monkeypatch.setattr(data, "SILENCE", 0.4)
        monkeypatch.setattr(data, "LONGEST", 1.5)
        monkeypatch.setattr(data, "LARGEST", 2_000_000)

        def use(*hows):
            urls = tuple(f"http://127.0.0.1:{server.server_port}/{how}/" for how in hows)
            monkeypatch.setitem(data.SOURCES, "mnist", data.Source(urls, {FILE: hashlib.sha256(RAW).hexdigest()}))

        yield use
        server.over.set()
        server.shutdown()
        thread.join()


def kept():
    """What is in the cache now."""
    return sorted(p.name for p in data.cache_folder().rglob("*") if p.is_file())


@pytest.mark.parametrize("how", HOWS)
def test_a_mirror_that_misbehaves_is_an_error_or_passed_over(mirrors, tally, how):
    tally.tried(f"a mirror that {how.replace('-', ' ')}")
    began = time.monotonic()
    if not SOAK and how in SLOW[2:]:  # waited for once, not twice
        mirrors(how, "good")
    else:
        mirrors(how)
        with pytest.raises(Error) as caught:
            data._file("mnist", FILE)
        lines = str(caught.value).splitlines()
        assert lines[0] == f"could not get {FILE} of mnist:" and f"/{how}/{FILE}.gz: " in lines[1]
        said = " ".join(lines[1:-1]).split(".gz: ", 1)[1]
        assert re.search(HOWS[how], said), said
        assert f"Put {FILE}.gz into" in lines[-1] and kept() == []
        mirrors(how, "good")
    assert data._file("mnist", FILE) == RAW
    assert time.monotonic() - began < 60 and kept() == [f"{FILE}.gz"]
    tally.survived(f"a mirror that {how.replace('-', ' ')}", "clear error; then the next mirror")


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_followed(mirrors, tally, status):
    tally.tried("a mirror that redirects")
    mirrors(status)
    assert data._file("mnist", FILE) == RAW and kept() == [f"{FILE}.gz"]
    tally.survived("a mirror that redirects", "followed")


def test_many_mirrors_in_random_order(mirrors, tally):
    dice = chance("mirrors")
    quick = [how for how in HOWS if how not in SLOW]
    for _ in range(40 if SOAK else 3):
        tally.tried("several bad mirrors, then a good one")
        (data.cache_folder() / "mnist" / f"{FILE}.gz").unlink(missing_ok=True)
        mirrors(*dice.sample(quick, 4), dice.choice(("good", *REDIRECTS)))
        assert data._file("mnist", FILE) == RAW and kept() == [f"{FILE}.gz"]
        tally.survived("several bad mirrors, then a good one", "the good one")
