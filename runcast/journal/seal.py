"""The seal of a run: distinguishes a run that this user began from one that came from elsewhere.

run.json names the class that delivers to a tracker, and its options. Anyone who can write that file could make `runcast
sync` import arbitrary code, so it carries a seal: a hash of those entries with a key that never leaves the user's home,
or the user's own temporary folder where the home cannot be written. A run without this user's seal can still be
delivered, but only by trackers that are installed here and with only labels as options, unless the user passes --trust.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

try:
    from _blake2 import blake2b  # hashlib's own, without OpenSSL, which takes milliseconds of every start to load
except ImportError:
    from hashlib import blake2b

from runcast.journal.layout import RunFile
from runcast.journal.paths import make_private, private_temporary_folder

KEY_BYTES = 32


def seal_of(file: RunFile) -> str:
    """Return the seal over the trusted entries of run.json; empty where no key can be kept."""
    key = _make_key()
    return "" if key is None else _seal(file, key)


def is_own(file: RunFile) -> bool:
    """Return whether this user began or trusted the run."""
    return bool(file.seal) and any(file.seal == _seal(file, key) for key in map(_read, _places()) if key is not None)


def is_known_elsewhere() -> bool:
    """Return whether this user's key is in their home, which other machines may share, not in a temporary folder."""
    home = _home_key()
    return home is not None and _read(home) is not None


def _seal(file: RunFile, key: bytes) -> str:
    sealed = {
        name: [choice.tracker, choice.online, choice.options, choice.environment]
        for name, choice in file.trackers.items()
    }
    return blake2b(msgspec.json.encode([file.id, sealed]), key=key, digest_size=KEY_BYTES).hexdigest()


def _places() -> Iterator[Path]:
    """Yield the places for this user's key: their home, then their temporary folder."""
    if (home := _home_key()) is not None:
        yield home
    with contextlib.suppress(OSError):
        yield private_temporary_folder() / "key"


def _home_key() -> Path | None:
    try:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "runcast" / "key"
    except RuntimeError:  # no home
        return None


def _make_key() -> bytes | None:
    """Read this user's key; make it when a run is first begun."""
    for path in _places():
        with contextlib.suppress(OSError):
            return _read(path) or _new_key(path)
    return None


def _new_key(path: Path) -> bytes | None:
    make_private(path.parent)
    new = path.with_name(f".key.{os.getpid()}.{os.urandom(4).hex()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(os.urandom(KEY_BYTES))
    try:
        os.link(new, path)
    except OSError:  # another process made one first: use that; or it is damaged, or the file system has no links
        if _read(path) is None:
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> bytes | None:
    """Return the key; None if it is missing or incomplete."""
    try:
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None
