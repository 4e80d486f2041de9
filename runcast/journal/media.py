"""The files of logged media, and the records that refer to them."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from runcast.core.errors import RuncastError
from runcast.core.foreign import attempt, described
from runcast.journal.paths import make_private, own_mode
from runcast.journal.records import Media
from runcast.redaction.tree import redact_text
from runcast.values.media.kinds import AnyMedia, Text
from runcast.values.media.recognition import to_media
from runcast.values.numbers import NotANumber, a


def media_in(value: Any) -> list[AnyMedia | None]:
    """List the media objects in a value, or in a list or tuple; anything else beside them becomes None."""
    parts = value if issubclass(type(value), list | tuple) else (value,)
    found = [attempt(partial(to_media, part), lambda _: None) for part in parts]
    bare = [part for part, media in zip(parts, found, strict=True) if isinstance(media, Text) and media is not part]
    if parts is value and len(bare) == sum(media is not None for media in found):
        return []  # a vocabulary, say: a file for each word would be too much
    return [] if all(media is None for media in found) else found


def save_media(directory: Path, key: str, media: AnyMedia | None, step: int, now: float) -> Media:
    """Save a media object in the run's folder.

    Raises:
        NotANumber: It is not one, or it could not be saved; the message says why.
    """
    if media is None:
        raise NotANumber("is a list of media that also holds something else. Log that under a key of its own")
    folder = directory / "media"

    def save() -> Path:
        make_private(folder)
        path = media.at_step(step).save(folder, f"{step:08d}-{os.urandom(4).hex()}")
        own_mode(path)
        return path

    def refuse(error: BaseException) -> Path:
        why = str(error) if isinstance(error, OSError | RuncastError) else described(error)
        raise NotANumber(f"is {a(type(media))} that could not be saved: {why}") from None

    path = attempt(save, refuse)
    return Media(
        time=now,
        key=key,
        step=step,
        kind=media.kind,
        path=path.relative_to(directory).as_posix(),
        caption=redact_text(media.caption) if media.caption else None,
    )


def check_whole(media: AnyMedia | None) -> None:
    """Check that a saved medium holds everything that it was given.

    Raises:
        NotANumber: It lacks something; the message says what.
    """
    if media is not None and media.left_out:
        raise NotANumber(f"is {a(type(media))} that was kept without {media.left_out}, which it cannot hold")
