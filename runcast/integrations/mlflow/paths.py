"""What MLflow and SQLAlchemy make of paths: an address is decoded, and ends where its query begins.

Seen in mlflow 3.17.2 and SQLAlchemy 2.1.9, 2026-12-01.
"""

import contextlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

SQLITE = "sqlite:///"


def uri_of(path: Path) -> str:
    """Return the URI of an SQLite file: SQLAlchemy ends the file's name at `?`, and since 2.1 decodes `%20`."""
    uri = f"{SQLITE}{path}"
    with contextlib.suppress(ImportError):  # as mlflow-skinny comes, for a server
        if not {"%", "?"}.isdisjoint(uri) and path_of(uri) != path:  # for other paths it need not be imported
            return f"{SQLITE}{str(path).replace('%', '%25').replace('?', '%3F')}"
    return uri


def path_of(uri: str) -> Path:
    """Return the file of an SQLite URI, as SQLAlchemy understands it."""
    from sqlalchemy.engine import make_url

    return Path(make_url(uri).database or "")


def location_of(folder: Path) -> str:
    """Return the address of a folder of files, which MLflow decodes."""
    return str(folder).replace("%", "%25") if unquote(str(folder)) != str(folder) else str(folder)


def local_folder(uri: str) -> Path | None:
    """Return the folder on this machine that an address names, if it is one."""
    found = urlsplit(uri)
    return Path(url2pathname(found.path if found.scheme else uri)) if found.scheme in ("", "file") else None


def remove_strays(uri: str) -> None:
    """Remove the empty folders that MLflow makes for an SQLite file, as it does not decode its URI."""
    wrong = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and wrong != path_of(uri):
        with contextlib.suppress(OSError):
            os.removedirs(wrong.parent)
