"""The commit of a script's code, read from Git's own files: `init` has no time to start Git, which may be missing."""

import contextlib
import os
import re
import stat
import sys
from typing import NamedTuple

from runcast.journal.layout import Source
from runcast.redaction.tree import redact_text
from runcast.values.scalars import without_surrogates

SMALL_BYTES, LARGE_BYTES = 2**16, 2**25  # of HEAD, a ref or the config; of all packed refs
LINKS = 5  # of refs that refer to refs
HEX = frozenset("0123456789abcdef")
REMOTE = '[remote "', '"]'
# A string, as patterns take long to compile and few URLs need this one. The second form is of a password with a slash
# in it: only a port of digits may follow the colon otherwise.
_LOGIN = r"(?P<scheme>[\w+.-]+)://(?P<user>[^/:@]*)(?:[^/]*|:(?!\d+(?:/|\Z)).*)@"


class Checkout(NamedTuple):
    """A work tree, its own folder of Git's files, and the folder that it shares with the repository's other ones."""

    root: str
    own: str
    common: str


def find_checkout() -> Checkout | None:
    """Find the work tree that holds the working directory, or else the script; None without one.

    A bare repository is none: it holds no code that could run.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    for find in (os.getcwd, lambda: os.path.dirname(os.path.abspath(script)) if script else None):
        with contextlib.suppress(OSError, ValueError):  # the working directory was deleted, or the path is none
            if (folder := find()) and (found := _checkout_above(folder)):
                return found
    return None


def read_source() -> Source | None:
    """Read what is checked out; None without a work tree, before its first commit, or with refs in Git's new format."""
    if (checkout := find_checkout()) is None:
        return None
    with contextlib.suppress(OSError):
        head = _read(f"{checkout.own}/HEAD").strip()
        name, text = "", head
        for _ in range(LINKS):
            if not text.startswith("ref:"):
                break
            name = text.removeprefix("ref:").strip()
            text = _ref(checkout, name)
        if len(text) in (40, 64) and HEX.issuperset(text):
            branch = name.removeprefix("refs/heads/")
            return Source(commit=text, branch=_clean(branch) if branch else None, remote=_remote(checkout))
    return None


def without_credentials(url: str) -> str:
    """Return a remote's URL without a password; the user of a web address is left out too, as a token may be one."""
    if "@" in url and (found := re.match(_LOGIN, url)):
        user = "" if found["scheme"].lower().startswith("http") else f"{found['user']}@"
        url = f"{found['scheme']}://{user}{url[found.end() :]}"
    return _clean(url)


def _checkout_above(folder: str) -> Checkout | None:
    """Find the nearest work tree; like Git, stay on one file system."""
    device = os.stat(folder).st_dev
    while True:
        git = os.path.join(folder, ".git")
        with contextlib.suppress(OSError):
            found = os.stat(git)
            if stat.S_ISREG(found.st_mode):  # of a submodule, or a further work tree
                git = os.path.join(folder, _read(git).partition("gitdir:")[2].strip())
            if os.path.isfile(f"{git}/HEAD"):
                return Checkout(folder, git, _common_folder(git))
        parent = os.path.dirname(folder)
        if parent == folder or os.stat(parent).st_dev != device:
            return None
        folder = parent


def _common_folder(git: str) -> str:
    try:
        return os.path.join(git, _read(f"{git}/commondir").strip())
    except OSError:
        return git


def _ref(checkout: Checkout, name: str) -> str:
    for folder in dict.fromkeys((checkout.own, checkout.common)):
        with contextlib.suppress(OSError, ValueError):
            return _read(f"{folder}/{name}").strip()
    with contextlib.suppress(OSError):
        packed = _read(f"{checkout.common}/packed-refs", LARGE_BYTES)
        if found := re.search(rf"^([0-9a-f]+) {re.escape(name)}\r?$", packed, re.MULTILINE):
            return found[1]
    return ""


def _remote(checkout: Checkout) -> str | None:
    urls: dict[str, str] = {}
    name = None
    with contextlib.suppress(OSError):
        for line in map(str.strip, _read(f"{checkout.common}/config").splitlines()):
            if line.startswith("["):
                before, after = REMOTE
                name = line.removeprefix(before).removesuffix(after) if line.startswith(before) else None
                continue
            entry, _, value = line.partition("=")
            if name is not None and entry.strip().lower() == "url":
                urls.setdefault(name, value.strip().strip('"'))
    url = urls.get("origin") or next(iter(urls.values()), None)
    return without_credentials(url) if url else None


def _read(path: str, limit: int = SMALL_BYTES) -> str:
    """Read a small regular file, and wait for nothing: in a folder that anybody may write, it may be a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        return os.read(descriptor, limit).decode(errors="replace")
    finally:
        os.close(descriptor)


def _clean(text: str) -> str:
    return redact_text(without_surrogates(text))
