"""Tells a run that this user began from one that came from elsewhere.

run.json says which class delivers to a tracker, and with which options. Whoever can write that file could make
`runcast sync` import what they like, so it carries a seal: the HMAC of those words with a key that lies in the user's
home and never leaves it. A run without this user's seal may still be delivered, but only by the trackers that are
installed here and with nothing but labels for options, unless the user trusts it by name.
"""

import contextlib
import os
from pathlib import Path

from runcast.core.layout import RunFile, make_private

KEY_BYTES = 32


def seal_of(file: RunFile, *, make_key: bool = True) -> str:
    """Return the seal of what run.json may make us do; empty where there is no home to keep a key in."""
    key = _key(make=make_key)
    if key is None:
        return ""
    import hashlib  # they take a millisecond, and start-up counts
    import hmac
    import json

    sealed = {
        name: [choice.tracker, choice.online, choice.options, choice.environment]
        for name, choice in file.trackers.items()
    }
    text = json.dumps([file.id, sealed], sort_keys=True)
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_own(file: RunFile) -> bool:
    """Tell whether this user began the run, or has trusted it."""
    return bool(file.seal) and file.seal == seal_of(file, make_key=False)


def _key(*, make: bool) -> bytes | None:
    """Read this user's key; make it when a run is first begun."""
    try:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        path = home / "runcast" / "key"
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
        if not make:
            return None
        make_private(path.parent)
        new = path.with_name(f".key.{os.getpid()}.{os.urandom(4).hex()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(KEY_BYTES))
        try:
            os.link(new, path)
        except FileExistsError:  # another process was faster: its key holds
            pass
        except OSError:  # a file system without links
            os.replace(new, path)
        new.unlink(missing_ok=True)
        return _read(path)
    except (OSError, RuntimeError):  # no home, or none that can be written
        return None


def _read(path: Path) -> bytes | None:
    key = path.read_bytes()
    return key if len(key) == KEY_BYTES else None
