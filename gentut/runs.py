"""A training run's folder: its configuration, its log, and a state from which it goes on as if it had never stopped.

    config.json                what was asked for
    log.jsonl                  one row per logged step, for reading along; a resumed run writes it anew from the state
    state.safetensors          everything needed to go on; state-previous.safetensors is the one before
    weights.safetensors        the trained network; weights.json is its card
    results.json               how it ended

A state is one file: tensors plus a JSON text in the safetensors header, with a SHA-256 over both. One file can be
replaced by one rename, so a reader never meets half of an old state and half of a new one. No pickle anywhere.
"""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from gentut import Error

STATE, PREVIOUS = "state.safetensors", "state-previous.safetensors"
FRESH = "state-new.safetensors"  # a whole new state, in the moment before it takes its name; a crash may leave it


def write_atomic(path, content):
    """Write bytes so that `path` holds either its old content or all of the new: write, fsync, rename.

    Raises Error if the disk is full or the folder cannot be written; what was there before stays.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as why:
        with contextlib.suppress(OSError):  # a folder that cannot be written cannot be cleaned either
            part.unlink(missing_ok=True)
        raise Error(f"could not write {path}: {why.strerror or why}. What was there before is untouched.") from None


def write_json(path, value):
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path):
    """Read a JSON object as a dict. Raises Error if the file is absent or damaged."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as why:
        raise Error(f"could not read {path}: {why.strerror or why}") from None
    except (ValueError, RecursionError) as why:  # the second: brackets within brackets, thousands deep
        raise Error(f"{path} is damaged: {why}") from None
    if not isinstance(value, dict):
        raise Error(f"{path} is damaged: it holds no names and values")
    return value


def _sync_folder(folder):
    """Make a rename last through a power cut (a folder cannot be opened for this on Windows, and needs not be)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(raw):
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(raw).hexdigest()


def pack_state(tensors, facts):
    """Tensors (name → tensor) and JSON-able facts → the bytes of a state file."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    text = json.dumps(facts)
    return tensors_to_bytes(tensors, {"facts": text, "sha256": _digest(tensors, text)})


def unpack_state(raw):
    """The bytes of a state file → (tensors, facts). Raises Error if one bit of either is not as it was written."""
    try:
        tensors = tensors_from_bytes(raw)
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])["__metadata__"]
        text, want = header["facts"], header["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError, UnicodeDecodeError, RuntimeError) as why:
        raise Error(f"not a whole state file ({type(why).__name__}: {why})") from None
    if _digest(tensors, text) != want:
        raise Error("the state does not have the digest written in it")
    return tensors, json.loads(text)


def _digest(tensors, text):
    h = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        h.update(f"{name}{t.dtype}{tuple(t.shape)}".encode())
        h.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return h.hexdigest()


@contextlib.contextmanager
def alone(folder):
    """Hold a run's folder until the block ends, so that no second run writes into it.

    The operating system lets go of it when the process ends, however it ends. Raises Error if another process holds it,
    or another thread of this one. Where folders cannot be locked (Windows, some network drives) nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as why:
        raise Error(f"could not open the folder {folder}: {why.strerror or why}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Error(f"another run is at work in {folder}: wait for its end, or choose another folder") from None
        except OSError:  # a file system that knows no locks
            pass
        yield
    finally:
        os.close(handle)


class Folder:
    """A run's folder. Raises Error rather than mix two runs or lose one."""

    def __init__(self, path, config, resume):
        """Open `path` for a run of `config` (JSON-able dict): a fresh one, or with `resume` the one that is there."""
        self.path = Path(path)
        self.newest = None  # the name of the newest state known to be whole
        old = self.path / "config.json"
        if self.path.exists() and not self.path.is_dir():
            raise Error(f"{self.path} is a file; a run needs a folder")
        if resume:
            if not old.exists():
                raise Error(f"nothing to resume: {self.path} holds no run")
            self._same(config, read_json(old))
            if not any((self.path / name).exists() for name in (FRESH, STATE, PREVIOUS)):
                raise Error(f"nothing to resume: the run in {self.path} saved no state; remove it and start anew")
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            raise Error(f"could not make the folder {self.path}: {why.strerror or why}") from None
        with alone(self.path):  # of several that start at once, one makes the run
            if old.exists():
                self._same(config, read_json(old))
                raise Error(f"{self.path} already holds this run: resume it (--resume), or choose another folder")
            if any(p.name != f"{old.name}.part" for p in self.path.iterdir()):  # killed while making the run, that is
                raise Error(f"{self.path} is not empty and holds no run: choose another folder")
            write_json(old, config)

    def _same(self, new, old):
        changed = sorted(k for k in {*new, *old} if new.get(k) != old.get(k))
        if changed:
            what = "; ".join(f"{k} is {old.get(k)!r} there and {new.get(k)!r} here" for k in changed)
            raise Error(f"{self.path} holds a run with another configuration: {what}. Choose another folder.")

    def save_state(self, tensors, facts):
        """Replace the state; the one before stays beside it, whole, at every moment."""
        content = pack_state(tensors, facts)
        state, previous, fresh = self.path / STATE, self.path / PREVIOUS, self.path / FRESH
        try:
            if self.newest == FRESH:
                os.replace(fresh, previous)
            write_atomic(fresh, content)
            if self.newest == STATE:  # a damaged one is written over: it must not take the place of a whole one
                os.replace(state, previous)
            os.replace(fresh, state)
            self.newest = STATE
            _sync_folder(self.path)
        except OSError as why:
            raise Error(f"could not write {state}: {why.strerror or why}. The states before are untouched.") from None

    def load_state(self):
        """The newest whole state: (tensors, facts). Raises Error if there is none, with what is wrong with each."""
        reasons = []
        for name in (FRESH, STATE, PREVIOUS):  # the newest first
            try:
                found = unpack_state((self.path / name).read_bytes())
                self.newest = name
                if reasons:
                    print(f"{'; '.join(reasons)}; going on from {name}", file=sys.stderr)
                return found
            except FileNotFoundError:
                continue
            except OSError as why:
                reasons.append(f"{name}: {why.strerror or why}")
            except Error as why:
                reasons.append(f"{name}: {why}")
        raise Error(f"no whole state in {self.path}: " + "; ".join(reasons))

    def log(self, row):
        """Append one row to log.jsonl."""
        try:
            with open(self.path / "log.jsonl", "a") as f:
                f.write(json.dumps(row) + "\n")
        except OSError as why:
            raise Error(f"could not write {self.path / 'log.jsonl'}: {why.strerror or why}") from None

    def write_log(self, rows):
        """Make log.jsonl hold these rows and no others."""
        write_atomic(self.path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
