"""What all media classes have in common: they never raise in a training loop, and save themselves as a file."""

from pathlib import Path
from typing import ClassVar

import msgspec
from msgspec.structs import force_setattr

from runcast.core.errors import OptionError
from runcast.core.foreign import attempt, described
from runcast.values.media import MediaKind


class Medium(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One image, figure, sound, video, text, table or histogram; `problem` says why it cannot be saved.

    `left_out` names the arguments that it was given and cannot hold, such as W&B's `masks`.
    """

    kind: ClassVar[MediaKind]
    problem: ClassVar[OptionError | None] = None
    left_out: ClassVar[str] = ""

    def __post_init__(self) -> None:
        attempt(self._check, self._note)

    def _note(self, error: BaseException) -> None:
        known = isinstance(error, OptionError)
        force_setattr(self, "problem", error if known else OptionError(f"It cannot be read ({described(error)})."))

    def _check(self) -> None:
        """Check the arguments, and keep them in the form that is saved."""

    def at_step(self, step: int) -> "Medium":
        """Return what is saved at this step: the medium itself, unless its content depends on the step."""
        return self

    def save(self, folder: Path, stem: str) -> Path:
        """Write it into *folder* and return its path.

        Raises:
            OptionError: It cannot be saved; the message says why, and what to do about it.
        """
        if self.problem is not None:
            raise self.problem
        return self._save(folder, stem)

    def _save(self, folder: Path, stem: str) -> Path:
        raise NotImplementedError
