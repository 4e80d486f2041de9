"""Tells a run that this user began from one that came from elsewhere.

run.json says which class delivers to a tracker, and with which options. Whoever can write that file could make
`runcast sync` import what they like, so it carries a seal: a hash of those words with a key that lies in the user's
home and never leaves it, or, where the home cannot be written, in the user's own temporary folder. A run without this
user's seal may still be delivered, but only by the trackers that are installed here and with nothing but labels for
options, unless the user trusts it by name.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runcast.journal.layout import RunFile
from runcast.journal.paths import make_private, private_temporary_folder

KEY_BYTES = 32


def seal_of(file: RunFile) -> str:
    """Return the seal of what run.json may make us do; empty where there is no place to keep a key in."""
    key = _make_key()
    return "" if key is None else _seal(file, key)


def is_own(file: RunFile) -> bool:
    """Return whether this user began the run, or has trusted it."""
    return bool(file.seal) and any(file.seal == _seal(file, key) for key in map(_read, _places()) if key is not None)


def is_known_elsewhere() -> bool:
    """Return whether this user's key is in their home, which other machines see too, not in a temporary folder."""
    home = _home_key()
    return home is not None and _read(home) is not None


def _seal(file: RunFile, key: bytes) -> str:
    import hashlib  # it takes milliseconds, and start-up counts

    sealed = {
        name: [choice.tracker, choice.online, choice.options, choice.environment]
        for name, choice in file.trackers.items()
    }
    return hashlib.blake2b(msgspec.json.encode([file.id, sealed]), key=key, digest_size=KEY_BYTES).hexdigest()


def _places() -> Iterator[Path]:
    """Yield where this user's key may be: in their home, else among their own temporary files."""
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
        if path.exists():  # it is damaged
            os.replace(new, path)
        else:
            os.link(new, path)
    except FileExistsError:  # another process was faster: its key holds
        pass
    except OSError:  # a file system without links
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> bytes | None:
    """Return the key; None if there is none, or not a whole one."""
    try:
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None
