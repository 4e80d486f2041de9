"""What a courier and the process that started it tell each other, through one socket."""

from typing import Literal, TypeAlias

import msgspec

from runcast.delivery.trust import Orders

# From the courier to a delivery: there are new records; the training is over.
NEWS, OVER = b"\n", b"e"

# To the courier, one byte each: deliver what there is, because someone waits for it; nobody waits any more; stay when
# all is delivered, because the exit code is to follow; the byte after this one is the exit code.
HURRY, REST, STAY, EXITS = b"h", b"r", b"s", b"x"

Mode: TypeAlias = Literal["training", "once", "watch"]  # see `process.py`


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The task of a courier, its first message: the deliveries, by tracker.

    `training` is the process id of the training, 0 if there is none; `session` is its session, 0 for all. With
    `only_corrects`, nothing is delivered unless the exit code corrects the status.
    """

    orders: dict[str, Orders]
    mode: Mode
    training: int = 0
    session: int = 0
    only_corrects: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line from the courier about one delivery, or about all, if it has no name.

    "died": it exited with `code` before its work was done, and is started again. "unstartable": it could not be
    started, for the reason `error`; another attempt follows. "ended": it exited with `code`, for good. "idle": all
    have.
    """

    event: Literal["died", "unstartable", "ended", "idle"]
    name: str = ""
    code: int = 0
    error: str = ""
