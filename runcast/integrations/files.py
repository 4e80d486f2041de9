"""Names of files on a file system to which `Loss` and `loss` are one name, as on macOS and FAT."""

import hashlib
import os
import re
from pathlib import Path

RESERVED = r"\A_(?=0x[0-9a-f]{8}_(?:/|\Z))"  # in the name rules of trackers that keep files
MARKED = "_0x????????_"  # matches the folders that `own_name` makes, in a glob
_MARK = re.compile(r"\A_0x[0-9a-f]{8}_/")


def own_name(root: Path, name: str) -> str:
    """Return the name below *root* under which a file overwrites none of another spelling.

    It is *name*, in a folder of its own where the file system takes a part of it for something that is there already.
    """
    path = root
    for part in name.split("/"):
        ignores_case = os.path.exists(path / part) and os.path.exists(path / part.swapcase())
        if ignores_case and part not in os.listdir(path):
            return f"_0x{hashlib.sha256(name.encode()).hexdigest()[:8]}_/{name}"
        path /= part
    return name


def name_of(path: str) -> str:
    """Return the name that `own_name` was given."""
    return _MARK.sub("", path)
