"""Conversion of a logged value to a Python number, or to a reason why it cannot be one.

Tensors and arrays are recognized by their methods, so nothing is imported for them. A tensor on a device is not read
here: its copy to the host is started, and a later call takes the value once it has arrived. Logging never waits for the
device.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Number as AnyNumber
from typing import Any, NamedTuple

from runcast.core.foreign import attempt, pass_on
from runcast.values.scalars import Number

MAX_EXACT_INT = 2**63
MAX_JSON_DEPTH = 32
MAX_DEPTH = 8  # of the mappings in one call of `log`


class NotANumber(Exception):
    """The reason why a value cannot be a metric, and what to log instead."""


def to_number(value: Any) -> Number:
    """Convert a Python or NumPy number, a 0-d or 1-element array or a tensor on the host to an int or a float.

    A bool is 0 or 1; an int of more than 64 bits becomes the nearest float.

    Raises:
        NotANumber: It is text, None, a collection, a tensor without data (meta, sparse) or of more than one element, or
            complex.
    """
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return value if -MAX_EXACT_INT <= value < MAX_EXACT_INT else _float_of(value)
    if kind is bool:
        return int(value)
    try:
        if value is None or isinstance(value, str | bytes | list | tuple | dict | set):
            raise NotANumber(_cure_of(value))
        return _convert(value, kind)
    except NotANumber:
        raise
    except BaseException as error:  # noqa: BLE001 - foreign code: any __float__, item or property may raise anything
        pass_on(error)
        raise NotANumber(f"is {a(kind)} that cannot be read ({type(error).__name__})") from None


def a(kind: type) -> str:
    """Name a class with its article."""
    return f"{'an' if kind.__name__.lower().startswith(('a', 'e', 'i', 'o', 'u', 'nd')) else 'a'} {kind.__name__}"


def _cure_of(value: Any) -> str:
    if value is None:
        return "is None. Leave it out, or log float('nan')"
    if isinstance(value, str):
        return f"is {a(type(value))}. Wrap it in runcast.Text to keep it"
    if isinstance(value, bytes):
        return f"is {a(type(value))}. Decode it and wrap it in runcast.Text to keep it"
    if isinstance(value, dict):
        return f"is {a(type(value))} below {MAX_DEPTH} others. Log it with fewer levels"
    if hasattr(type(value), "_asdict"):
        return f"is {a(type(value))}. Log it as a mapping: value._asdict()"
    if isinstance(value, list | tuple) and any(isinstance(part, list | tuple | dict) for part in value):
        return f"is {a(type(value))} of rows. Wrap it in runcast.Table(rows, columns=[…]) to keep it"
    if isinstance(value, list | tuple) and any(isinstance(part, str) for part in value):
        return f"is {a(type(value))} of texts. Join them into one, or wrap them in runcast.Table to keep them"
    return f"is {a(type(value))}. Log its mean, or wrap it in runcast.Histogram to keep it"


def _convert(value: Any, kind: type) -> Number:
    if getattr(value, "item", None) is not None:
        if hasattr(kind, "device_mesh"):
            value = _local(value)
        if getattr(value, "is_sparse", False) or "sparse" in str(getattr(value, "layout", "")):
            raise NotANumber("is a sparse tensor. Log its value: tensor.to_dense().item()")
        if device_of(value) == "meta":
            raise NotANumber("is a meta tensor, which has no value")
        count = _elements(value)
        if count != 1:
            raise NotANumber(f"is {a(kind)} of {count} elements{_cure_of_array(value, count)}")
        if getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M"):  # `item` may convert it to a number
            raise NotANumber(f"is {a(kind)} of dates or times. Log its seconds as a float")
        if hasattr(kind, "filled") and value.mask:  # NumPy's; `item` returns what the mask hides
            raise NotANumber("is masked, so it has no value")
        value = value.item()
        if isinstance(value, str | bytes):
            raise NotANumber(_cure_of(value))
    if isinstance(value, complex):
        what = " of complex numbers" if hasattr(kind, "shape") and not issubclass(kind, AnyNumber) else ""
        raise NotANumber(f"is {a(kind)}{what}, which no tracker can hold. Log abs(value), or its .real and .imag")
    if isinstance(value, bool | int):
        return int(value) if -MAX_EXACT_INT <= value < MAX_EXACT_INT else _float_of(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, AnyNumber) or hasattr(type(value), "__float__"):
        return float(value)
    if hasattr(kind, "__dataclass_fields__"):
        raise NotANumber(f"is {a(kind)}. Log it as a mapping: dataclasses.asdict(value)")
    raise NotANumber(f"is {a(kind)}. Log a number, or wrap its text in runcast.Text to keep it")


def _cure_of_array(value: Any, count: int) -> str:
    if not count:
        return ", which has no value"
    dimensions = len(getattr(value, "shape", ()))
    picture = ". A picture goes into runcast.Image" if dimensions in (2, 3) else ""
    if dimensions == 4:
        picture = ". A few pictures of a batch go into a list: [runcast.Image(x) for x in batch[:8]]"
    return f". Log one with .item(), or its mean, or wrap it in runcast.Histogram to keep it{picture}"


def _local(value: Any) -> Any:
    """Return the tensor of this rank; reading a sharded DTensor would be a collective operation."""
    if all(placement.is_replicate() for placement in value.placements):
        return value.to_local()
    raise NotANumber("is a DTensor that is split over the ranks. Log its full_tensor()")


def _float_of(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise NotANumber("is an int of more than 1,024 bits, which no tracker can hold") from None


def _elements(value: Any) -> int:
    count: Any = getattr(value, "numel", None) or getattr(value, "size", 1)
    return int(count() if callable(count) else count)


def device_of(value: Any) -> str:
    """Return the kind of device that holds a value, such as "cpu", "cuda" or "meta"."""
    device = getattr(value, "device", "cpu")
    return str(getattr(device, "type", device)).split(":")[0]


class DeviceValue(NamedTuple):
    """The copy of a 0-d or 1-element device tensor on its way to the host; `ready` never waits."""

    host: Any
    ready: Callable[[], bool]


def start_copy(value: Any) -> DeviceValue | None:
    """Start copying a device tensor to pinned host memory, without synchronizing.

    Return None if *value* is not such a tensor.

    Works for the devices whose streams have events (cuda, xpu). A tensor of another device is read by `to_number`,
    which waits.

    Raises:
        NotANumber: Inspecting it, or starting the copy, raised.
    """
    try:
        return _start_copy(value)
    except BaseException as error:  # noqa: BLE001 - foreign code, as above
        pass_on(error)
        raise NotANumber(f"is {a(type(value))} that cannot be read ({type(error).__name__})") from None


def is_on_device(value: Any) -> bool:
    """Return whether reading a value would wait for a device whose streams have events (cuda, xpu)."""
    return hasattr(value, "item") and device_of(value) in ("cuda", "xpu") and hasattr(value, "detach")


def _start_copy(value: Any) -> DeviceValue | None:
    if not is_on_device(value):
        return None
    torch = sys.modules.get("torch")
    if torch is None or _elements(value) != 1:
        return None
    if hasattr(type(value), "device_mesh"):
        value = _local(value)
    streams = getattr(torch, value.device.type)
    event = streams.Event()
    with streams.device(value.device):
        host = value.detach().to("cpu", non_blocking=True)
        event.record()
    return DeviceValue(host, event.query)


def with_numbers(value: Any) -> Any:
    """Convert computed values to Python numbers, also inside a dict; leave everything else unchanged."""
    if isinstance(value, Mapping):
        return {key: with_numbers(part) for key, part in value.items()}
    try:
        return _plain_number(value)
    except NotANumber:
        return value


def as_json(value: Any, other: Callable[[Any], Any] = str, depth: int = 0) -> Any:
    """Convert any value to one that JSON can hold: numbers of any library become Python numbers, the rest text.

    NaN and the infinities stay floats, which Python's JSON can write.

    Args:
        value: The value; keys of a dict that are not text become text.
        other: The conversion of the rest.
        depth: The number of collections around it.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if depth < MAX_JSON_DEPTH and isinstance(value, Mapping):
        return {str(key): as_json(part, other, depth + 1) for key, part in value.items()}
    if depth < MAX_JSON_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [as_json(part, other, depth + 1) for part in value]
    try:
        return _plain_number(value)
    except NotANumber:
        return other(value)


def _plain_number(value: Any) -> Number | bool:
    if isinstance(value, bool):
        return value
    number = to_number(value)
    return bool(number) if str(getattr(value, "dtype", "")).endswith(("bool", "bool_")) else number


def leaves(values: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> list[tuple[str, Any]]:
    """List the values of a nested mapping under their joined keys; keys that are not text are converted.

    A mapping that is nested too deeply, or that raises while it is read, counts as a value itself.
    """
    found: list[tuple[str, Any]] = []

    def read() -> None:
        for key, value in values.items():
            # The text of a str that is an Enum's member is its value, as in JSON: `str` gives the member's name.
            spell = str.__str__ if issubclass(type(key), str) else str
            name = prefix + attempt(partial(spell, key), lambda _: f"<{type(key).__name__}>")  # noqa: B023 - called at once
            if depth < MAX_DEPTH and is_mapping(value):
                found.extend(leaves(value, f"{name}/", depth + 1))
            else:
                found.append((name, value))

    attempt(read, lambda _: found.append((prefix[:-1] or "log", values)))
    return found


def is_mapping(value: Any) -> bool:
    """Return whether a value is a mapping, even if its `__class__` claims otherwise."""
    return attempt(lambda: isinstance(value, Mapping), lambda _: False)
