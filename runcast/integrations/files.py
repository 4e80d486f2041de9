"""Files that several trackers keep: appended to as a whole, and named so that `Loss` and `loss` are two files."""

import base64
import hashlib
import html
import json
import mimetypes
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESERVED = r"\A_(?=0x[0-9a-f]{8}_(?:/|\Z))"  # in the name rules of trackers that keep files
MARKED = "_0x????????_"  # matches the folders of `in_own_folder`, in a glob
MAX_PAGE_BYTES = 2**24  # of a file in a `page`, which is twice in it
_MARK = re.compile(r"\A_0x[0-9a-f]{8}_/")


def own_name(root: Path, name: str) -> str:
    """Return the name below *root* under which a file overwrites none of another spelling.

    It is *name*, in a folder of its own where the file system takes a part of it for something that is there already.
    """
    path = root
    for part in name.split("/"):
        ignores_case = os.path.exists(path / part) and os.path.exists(path / part.swapcase())
        if ignores_case and part not in os.listdir(path):
            return in_own_folder(name)
        path /= part
    return name


def in_own_folder(name: str) -> str:
    """Return the name below a folder that has no other file."""
    return f"_0x{hashlib.sha256(name.encode()).hexdigest()[:8]}_/{name}"


def name_of(path: str) -> str:
    """Return the name that `own_name` or `in_own_folder` was given."""
    return _MARK.sub("", path)


def append(path: Path, data: bytes) -> None:
    """Add to a file, all of it or nothing."""
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(end)
            raise


def cut_torn_line(path: Path) -> None:
    """Cut off the end of a file of lines that a killed process left unfinished, if there is such a file."""
    if path.exists():
        with path.open("rb") as file:
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
        os.truncate(path, whole)


def json_lines(path: Path) -> Iterator[Any]:
    """Yield what each line of a file holds, without one that was cut in mid-write; nothing if there is no file."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)


def link(source: Path, target: Path) -> None:
    """Put a file or a folder at *target*, replacing what is there: as a hard link if possible, else as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=link_file)
    else:
        link_file(source, target)


def files_in(path: Path) -> list[Path]:
    """List the files in a folder, at any depth, or a file itself."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def link_file(source: str | Path, target: str | Path) -> None:
    """Give a file another place as well, where none is yet; copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def data_uri(path: Path) -> str:
    """Return an address that holds a whole file."""
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def page(path: Path, kind: str) -> str:
    """Keep a file that a service cannot show, as it is, in HTML that shows what a browser knows and offers the rest."""
    data = data_uri(path)
    tags = {"image": f'<img src="{data}">', "audio": f'<audio controls src="{data}"></audio>'}
    shown = tags.get(kind, f'<video controls src="{data}"></video>')
    name = html.escape(path.name)
    return f'{shown}<p><a href="{data}" download="{name}">{name}</a></p>'
