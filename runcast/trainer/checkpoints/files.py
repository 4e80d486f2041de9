"""Checkpoints on disk: written whole or not at all, verified before they are read, read without running pickled code.

checkpoint-<step>/
    model.safetensors        the weights, under their own names
    optimizer.pt scheduler.pt scaler.pt
    model-shards/ optimizer-shards/    instead of the two, with fsdp=True: safetensors, one of each process
    rank-<n>.pt              of each process: random numbers, position in the data, sums between two logs
    trainer_state.json       as transformers writes it
    training_args.json
    checkpoint.json          format, step, time, shape of every weight, size and CRC-32 of every file: written last
"""

import contextlib
import itertools
import json
import os
import pickle
import re
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from runcast.core.errors import CheckpointError, OptionError
from runcast.trainer.ranks.ranks import Ranks

MANIFEST = "checkpoint.json"
FORMAT = 1
_CHUNK = 2**22


def make_root(folder: Path) -> None:
    """Make the folder of the checkpoints.

    Raises:
        OptionError: It can never be made. Where the disk is full, there may be space when the first one is written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise OptionError(
            f"No checkpoint could be written, as the folder output_dir={str(folder)!r} cannot be made: {error}. Set "
            "output_dir, or save_strategy='no'."
        ) from error
    except OSError:
        pass


class Checkpoint(NamedTuple):
    """A checkpoint that was found whole."""

    folder: Path
    manifest: dict[str, Any]


@contextlib.contextmanager
def writing(target: Path, ranks: Ranks | None = None) -> Iterator[Path]:
    """Give every rank the same folder to write to, which becomes *target* when all is written.

    After an exception *target* is as it was. A file or a link of that name is not a checkpoint: it is kept beside it.
    """
    ranks = ranks or Ranks()
    partial, retired = (target.with_name(f".{target.name}.{word}") for word in ("partial", "old"))

    def prepare() -> None:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)

    def put_in_place() -> None:
        if target.is_symlink() or target.is_file():
            os.replace(target, _free_name(target))
        elif target.exists():
            shutil.rmtree(retired, ignore_errors=True)
            os.replace(target, retired)
        os.replace(partial, target)
        shutil.rmtree(retired, ignore_errors=True)

    ranks.together(lambda: prepare() if ranks.rank == 0 else None)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    ranks.together(lambda: put_in_place() if ranks.rank == 0 else None)


def write_manifest(
    folder: Path, *, step: int, world_size: int, shapes: Mapping[str, list[int]], progress: Mapping[str, Any]
) -> None:
    """Describe the folder's content, so that a reader notices changes.

    Everything is on disk afterwards.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = {"size_bytes": path.stat().st_size, "crc32": _checksum(path)}
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    manifest = {
        "format": FORMAT,
        "step": step,
        "written": time.time(),
        "world_size": world_size,
        "progress": dict(progress),
        "files": files,
        "shapes": dict(shapes),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def verify(folder: Path) -> dict[str, Any]:
    """Check that a checkpoint is whole and ours; return its manifest.

    Raises:
        CheckpointError: It is not; the message says which file and what to do.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"There is no checkpoint {folder}. Name a folder 'checkpoint-<step>', or resume_from_checkpoint='last'."
        )
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {MANIFEST}, so this trainer did not write it. Load its weights into the model instead, "
            "and train without resuming."
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(folder, MANIFEST, str(error)) from None
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {manifest.get('format')!r}, this version reads {FORMAT}. Resume with the version "
            "that wrote it."
        )
    for name, about in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, name, "it is missing")
        if path.stat().st_size != about["size_bytes"] or _checksum(path) != about["crc32"]:
            raise _damaged(folder, name, "its content has changed since it was written")
    return manifest


def list_checkpoints(output_dir: Path) -> list[Path]:
    """List the checkpoints in a folder, the oldest first.

    Their age counts, not their number: the folder may hold those of an earlier, longer training.
    """
    if not output_dir.is_dir():
        return []
    found = [
        (_written(path), int(match[1]), path)
        for path in output_dir.iterdir()
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and path.is_dir() and not path.is_symlink()
    ]
    return [path for *_, path in sorted(found)]


def rotate(output_dir: Path, limit: int | None, written: Sequence[Path], best: str | None) -> None:
    """Delete the oldest checkpoints above the limit, never the best or the newest one.

    Args:
        output_dir: Where the checkpoints are. What this trainer did not write stays there, and does not count.
        limit: How many are kept; None keeps all.
        written: Those that this process has written, the oldest first. They are newer than all others, whatever the
            clock says.
        best: The one to keep.
    """
    if limit is None:
        return
    kept = [path for path in list_checkpoints(output_dir) if (path / MANIFEST).is_file()]
    kept.sort(key=lambda path: written.index(path) if path in written else -1)  # stable: the others stay by age
    for path in kept[:-1]:
        if len(kept) <= limit:
            break
        if best is None or not Path(best).exists() or not path.samefile(best):
            shutil.rmtree(path, ignore_errors=True)
            kept.remove(path)


def save_tensors(value: Any, path: Path) -> None:
    """Write a structure of tensors, numbers, texts and collections of them; raises OSError if it cannot be written."""
    try:
        torch.save(value, path)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(f"{path.name}: {str(error).splitlines()[0]}") from error


def load_tensors(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read what `save_tensors` wrote; refuses anything that would need code to be run.

    Raises:
        CheckpointError: The file is damaged or holds something else.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise _damaged(path.parent, path.name, f"{type(error).__name__}: {str(error).splitlines()[0]}") from error


def _written(folder: Path) -> float:
    """Return when a checkpoint was written, in seconds since 1970; a copy of it is as old as the original."""
    try:
        return float(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["written"])
    except (OSError, ValueError, TypeError, KeyError):  # of an earlier version, or damaged
        return folder.stat().st_mtime


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.kept-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists() and not name.is_symlink())


def _damaged(folder: Path, name: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {folder} is damaged: {name}: {why}. Resume from an older one, or "
        "resume_from_checkpoint='last'."
    )


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
