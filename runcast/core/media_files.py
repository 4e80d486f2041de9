"""Where the files of logged media come to lie, and the record that refers to them."""

import os
from pathlib import Path
from typing import Any

from runcast.core.errors import RuncastError
from runcast.core.foreign import attempt, described
from runcast.core.layout import make_private
from runcast.core.media import to_media
from runcast.core.records import Media
from runcast.core.redaction import redact_text
from runcast.core.values import NotANumber


def save_media(directory: Path, key: str, value: Any, step: int, now: float) -> Media | None:
    """Save a media object, or what can be made one, in the run's folder; None if the value is neither.

    Raises:
        NotANumber: It could not be saved; the message says why.
    """
    media = attempt(lambda: to_media(value), lambda _: None)
    if media is None:
        return None
    folder = directory / "media"

    def save() -> Path:
        make_private(folder)
        path = media.save(folder, f"{step:08d}-{os.urandom(4).hex()}")
        path.chmod(0o600)
        return path

    def refuse(error: BaseException) -> Path:
        why = str(error) if isinstance(error, OSError | RuncastError) else described(error)
        raise NotANumber(f"the {media.kind} could not be saved ({why})") from None

    path = attempt(save, refuse)
    return Media(
        time=now,
        key=key,
        step=step,
        kind=media.kind,
        path=path.relative_to(directory).as_posix(),
        caption=redact_text(media.caption) if media.caption else None,
    )
