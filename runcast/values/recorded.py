"""A mapping whose changes become records: the config and the summary of a run, as scripts change them."""

import sys
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Number
from typing import Any, overload

from runcast.core.foreign import attempt
from runcast.redaction.tree import redact
from runcast.values.config import plain
from runcast.values.numbers import is_mapping, leaves, with_numbers


class Recorded(dict[str, Any]):
    """A dict that records every change, and whose keys are attributes too: `config.lr = 3` is `config["lr"] = 3`.

    Values become plain JSON values without secrets, as in the record. A nested mapping is one of these as well. A copy,
    also a pickled one, records nothing.
    """

    __slots__ = ("_path", "_record")
    _path: tuple[str, ...]
    _record: Callable[[dict[str, Any]], None] | None

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        record: Callable[[dict[str, Any]], None] | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        object.__setattr__(self, "_record", record)
        object.__setattr__(self, "_path", path)
        self._hold(values or {})

    def _hold(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            inner = isinstance(value, dict)
            super().__setitem__(key, Recorded(value, self._record, (*self._path, key)) if inner else value)

    def update(self, values: Any = None, /, *, allow_val_change: bool | None = None, **more: Any) -> None:
        """Set and record several values.

        Args:
            values: Anything with names and values, as for `Run.log_params`.
            allow_val_change: Accepted for scripts that were written for W&B; a value may always change.
            more: Further values.
        """
        changed: Any = {**plain(values), **plain(more)}
        for name in reversed(self._path):
            changed = {name: changed}
        changed = redact(changed)
        if self._record is not None:
            self._record(changed)
        for _ in self._path:
            changed = next(iter(changed.values())) if isinstance(changed, dict) else {}
        self._hold(changed if isinstance(changed, dict) else {})

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key; set and record it first if it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def as_dict(self) -> dict[str, Any]:
        """Return a plain dict of the values."""
        return {key: value.as_dict() if isinstance(value, Recorded) else value for key, value in self.items()}

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __ior__(self, values: Any) -> "Recorded":  # type: ignore[override, misc]
        self.update(values)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} here. There is: {', '.join(self) or 'nothing'}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __reduce__(self) -> tuple[type["Recorded"], tuple[dict[str, Any]]]:
        return Recorded, (self.as_dict(),)


class RecordedResults(Recorded):
    """A summary: a result of any library is a number, also one on a device, where the config describes it.

    It holds no media: those among the results are logged, as W&B's summary takes them.
    """

    __slots__ = ("_log",)
    _log: Callable[[dict[str, Any]], object]

    def __init__(self, record: Callable[[dict[str, Any]], None], log: Callable[[dict[str, Any]], object]) -> None:
        super().__init__(None, record)
        object.__setattr__(self, "_log", log)

    def update(self, values: Any = None, /, *, allow_val_change: bool | None = None, **more: Any) -> None:
        """Set and record several results, and log the media among them."""
        given = [*(leaves(values) if is_mapping(values) else ()), *more.items()]
        if media := {key: value for key, value in given if _is_media(value)}:
            self._log(media)
        super().update(_results(values), **_results(more))


def _results(values: Any) -> Any:
    """Convert what is a number, also on a device, and leave out media."""
    if not is_mapping(values):
        is_number = issubclass(type(values), Number) and not issubclass(type(values), Enum)
        return with_numbers(values) if is_number or hasattr(type(values), "item") else values
    return attempt(
        lambda: {key: _results(value) for key, value in values.items() if not _is_media(value)}, lambda _: values
    )


def _is_media(value: Any) -> bool:
    """Return whether a value is a media object or a list of them; before their module is loaded, none can be."""
    medium = getattr(sys.modules.get("runcast.values.media.medium"), "Medium", None)
    several = value if issubclass(type(value), list | tuple) else (value,)
    return medium is not None and bool(several) and all(issubclass(type(one), medium) for one in several)


class RecordedAttribute:
    """An attribute that holds a `Recorded`, which an assignment updates: `run.config = {"lr": 3}`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> "RecordedAttribute": ...
    @overload
    def __get__(self, holder: object, owner: type) -> Recorded: ...
    def __get__(self, holder: object | None, owner: type) -> "Recorded | RecordedAttribute":
        return self if holder is None else vars(holder)[self._name]

    def __set__(self, holder: object, values: Any) -> None:
        held = vars(holder).setdefault(self._name, values)
        if held is not values:
            held.update(values)
