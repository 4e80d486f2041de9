"""Conversion of any configuration object to a stable tree of JSON values.

Config objects are recognized by the methods of their class, so nothing is imported for them, and they are never
changed. The same config gives the same tree in every process: sets are sorted and memory addresses left out. A value
that JSON cannot hold is described in words.
"""

import math
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from functools import partial
from itertools import islice
from types import (
    BuiltinFunctionType,
    FunctionType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any, TypeAlias

import msgspec

from runcast.core.foreign import attempt, pass_on
from runcast.values.scalars import encodable, without_surrogates

MAX_DEPTH = 32
MAX_ELEMENTS = 10_000  # of one list, set or dict
MAX_VALUES = 100_000  # of a whole config: nested lists that share elements can expand to 2^32 values
MAX_WHOLE = 2**20  # of a value that is kept whole, and of a list in it

Json: TypeAlias = "str | int | float | bool | None | list[Json] | dict[str, Json]"

_NUMBERS = frozenset((int, float))
_ADDRESS = re.compile(r"(?:\bat |\(|=)0x[0-9a-fA-F]{6,}|\bid='\d{6,}'")
_NAMED = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, MethodDescriptorType, WrapperDescriptorType)
_METHODS = ("to_dict", "as_dict", "model_dump", "flag_values_dict", "_asdict")
_DATACLASS = "__dataclass_fields__"
_SHOWN_BY_STR = ("datetime", "decimal", "fractions", "ipaddress", "pydantic.networks", "uuid")


def plain(config: Any) -> dict[str, Any]:
    """Turn any config into a tree of JSON values; a config without names goes under "config".

    Args:
        config: None, a mapping, a dataclass, an attrs, pydantic or msgspec object, a namespace, an OmegaConf container,
            an object with `to_dict` or `as_dict`, or any object or class with public attributes. A value in it that
            cannot be read becomes "<unreadable: TypeError>"; a float that is not finite becomes its name.
    """
    if config is None:
        return {}
    reader = _Reader()
    tree = reader.read(_itself, config)
    if isinstance(tree, dict):
        return tree
    attributes = _attributes(config) if isinstance(tree, str) else {}
    return reader.read_items(list(attributes), attributes.__getitem__) if attributes else {"config": tree}


def plain_value(value: Any, *, whole: bool = False) -> Json:
    """Turn one value into a JSON value, by the same rules; or *whole*, with long lists and the content of arrays."""
    return _Reader(whole).read(_itself, value)


class _Reader:
    """The reader of one config, which tracks the containers it is in and how many values it may still read."""

    def __init__(self, whole: bool = False) -> None:
        self._open: set[int] = set()
        self._whole, self._end = whole, 2**64 if whole else 2**63  # a column of a data frame may be unsigned
        self._most, self._left = (MAX_WHOLE, MAX_WHOLE) if whole else (MAX_ELEMENTS, MAX_VALUES)

    def read(self, get: Callable[[Any], Any], key: Any) -> Json:
        """Read the value of `get(key)`; an exception from its code stops here."""
        self._left -= 1
        if self._left < 0:
            whose, most = ("cell", MAX_WHOLE) if self._whole else ("config", MAX_VALUES)
            return f"<left out: the {whose} has more than {most:,} values>"
        try:
            return self._read(get(key))
        except BaseException as error:  # noqa: BLE001 - foreign code: any property or __repr__ may raise anything
            pass_on(error)
            return f"<unreadable: {type(error).__name__}>"

    def read_items(self, keys: Sequence[Any], get: Callable[[Any], Any]) -> dict[str, Json]:
        """Read the value of each key; two keys with the same spelling are distinguished by their types."""
        names = [self._name(key) for key in keys]
        taken = {name for name, key in zip(names, keys, strict=True) if _is_named(name, key)}
        tree: dict[str, Json] = {}
        for name, key in zip(names, keys, strict=True):
            if not _is_named(name, key):
                while name in taken:
                    name += f" ({type(key).__name__})"
                taken.add(name)
            tree[name] = self.read(get, key)
        return tree

    def _name(self, key: Any) -> str:
        if type(key) is str:
            return without_surrogates(key)
        if issubclass(type(key), bytes):
            return bytes.decode(key, "utf-8", "backslashreplace")
        tree = self.read(_itself, key)
        return to_json(tree) if isinstance(tree, list | dict) else str(tree)

    def _read(self, value: Any) -> Json:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return str(value.name or value)
        if isinstance(value, str):
            return without_surrogates(str.__str__(value))
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < self._end else str(int(value))
        if isinstance(value, float):
            return encodable(float(value))
        if isinstance(value, bytes | bytearray):
            return f"bytes({len(value)})"
        if isinstance(value, _NAMED):
            return _qualified(value)
        if isinstance(value, partial):
            return self._read_partial(value)
        return self._read_object(value, type(value))

    def _read_partial(self, value: "partial[Any]") -> Json:
        arguments = [to_json(self.read(_itself, each)) for each in value.args]
        keywords = [f"{key}={to_json(self.read(_itself, each))}" for key, each in value.keywords.items()]
        return f"partial({', '.join([str(self.read(_itself, value.func)), *arguments, *keywords])})"

    def _read_object(self, value: Any, kind: type) -> Json:
        if _is_array(kind):
            return self._read_array(value, kind)
        if hasattr(kind, "__fspath__"):
            return without_surrogates(os.fsdecode(value))
        if hasattr(kind, "get_secret_value"):  # pydantic's SecretStr
            return "[redacted]"
        if hasattr(kind, "isoformat"):
            return str(value.isoformat())
        if kind.__module__ in _SHOWN_BY_STR or {"dtype", "device"} & {base.__name__ for base in kind.__mro__}:
            return str(value)
        if id(value) in self._open:
            return "<cycle>"
        if len(self._open) == MAX_DEPTH:
            return f"<{kind.__name__}: nested more than {MAX_DEPTH} deep>"
        self._open.add(id(value))
        try:
            return self._read_container(value, kind)
        finally:
            self._open.remove(id(value))

    def _read_container(self, value: Any, kind: type) -> Json:
        omegaconf = sys.modules.get("omegaconf")
        if omegaconf is not None and isinstance(value, omegaconf.Container):
            return self._read_omegaconf(value, omegaconf)
        failures: list[BaseException] = []
        for method in _METHODS:  # if it raises for one entry, the others can still be read
            if callable(getattr(kind, method, None)):
                found = attempt(lambda: getattr(value, method)(), failures.append)  # noqa: B023 - called at once
                if isinstance(found, Mapping):
                    return self._read_mapping(found)
        if isinstance(value, Mapping) or (hasattr(kind, "keys") and hasattr(kind, "__getitem__")):
            return self._read_mapping(value)
        if isinstance(value, list | tuple | set | frozenset | deque):
            if len(value) > self._most:
                return f"{kind.__name__}({len(value)})"
            elements = self._read_numbers(value) or [self.read(_itself, each) for each in value]
            return sorted(elements, key=_order) if isinstance(value, set | frozenset) else elements
        names = _field_names(value, kind)
        if names is None and failures:
            names = list(_attributes(value))
            if not names:
                return f"<unreadable: {type(failures[0]).__name__}>"
        return _described(value) if names is None else self.read_items(names, partial(getattr, value))

    def _read_numbers(self, values: Collection[Any]) -> list[Json]:
        """Return the values if all are numbers that JSON can hold, which is quick for the ids of tokens; else []."""
        if len(values) > self._left or not _NUMBERS.issuperset(map(type, values)):
            return []
        self._left -= len(values)
        return list(values) if all(-(2**63) <= each < 2**63 for each in values) else []

    def _read_mapping(self, value: Mapping[Any, Any]) -> Json:
        keys = list(islice(value.keys(), self._most + 1))  # those of a proxy may never end
        if len(keys) > self._most:
            return f"{type(value).__name__}({attempt(lambda: len(value), lambda _: f'more than {self._most}')})"
        return self.read_items(keys, value.__getitem__)

    def _read_omegaconf(self, value: Any, omegaconf: ModuleType) -> Json:
        raw = omegaconf.OmegaConf.to_container(value, resolve=False)
        if not isinstance(raw, dict | list):
            return self._read(raw)  # the whole container is missing, None or an interpolation

        def resolve(key: Any) -> Any:
            try:
                return value[key]
            except omegaconf.errors.OmegaConfBaseException:  # missing, or an unresolvable interpolation: keep its text
                return raw[key]

        if isinstance(raw, list):
            return [self.read(resolve, index) for index in range(len(raw))]
        return self.read_items(list(raw), resolve)

    def _read_array(self, value: Any, kind: type) -> Json:
        """Read the number in a 1-element array on the host; describe any other array, to avoid waiting for a device."""

        def own(name: str, default: Any) -> Any:
            # `hasattr(kind, …)`: a data frame has its columns as attributes.
            return getattr(value, name) if hasattr(kind, name) else default

        shape, dtype, device = list(value.shape), own("dtype", ""), own("device", "cpu")
        size = math.prod(shape)
        host = str(getattr(device, "platform", getattr(device, "type", device))) == "cpu"
        dense = "sparse" not in str(own("layout", "")) and not hasattr(kind, "device_mesh")
        if host and dense and hasattr(kind, "item") and size == 1:
            return self._read(value.item())
        most = self._most if len(shape) == 1 else MAX_ELEMENTS  # ids of tokens are many, and pictures no cells
        if self._whole and dense and str(device) != "meta" and hasattr(kind, "tolist") and size <= most:
            return self._read(value.item() if size == 1 else value.tolist())
        parts = (str(getattr(dtype, "name", dtype)).removeprefix("torch."), str(shape), "" if host else str(device))
        return f"{kind.__name__}({', '.join(filter(None, parts))})"


def to_json(tree: Json) -> str:
    """Write a tree as compact JSON text."""
    return msgspec.json.encode(tree).decode()


def _itself(value: Any) -> Any:
    return value


def _is_named(name: str, key: Any) -> bool:
    """Return whether a key is a plain str; a subclass may compare in its own way, or raise."""
    return type(key) is str and name == key


def _order(tree: Json) -> tuple[bool, float, str]:
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return False, float(tree), to_json(tree)
    return True, 0.0, to_json(tree)


def _is_array(kind: type) -> bool:
    """Tell an array, a tensor or a data frame from a config object that has a field named `shape`."""
    columns = hasattr(kind, "dtype") or hasattr(kind, "columns") or hasattr(kind, "column_names")
    return columns and hasattr(kind, "shape") and hasattr(kind, "__getitem__") and not hasattr(kind, _DATACLASS)


def _qualified(value: Any) -> str:
    name: str = getattr(value, "__qualname__", None) or value.__name__
    module = getattr(value, "__module__", None)
    return name if module in (None, "builtins") else f"{module}.{name}"


def _described(value: Any) -> str:
    if hasattr(type(value), "state_dict"):
        return _qualified(type(value))  # the repr of a model or an optimizer can fill pages
    text = repr(value)
    return _qualified(type(value)) if _ADDRESS.search(text) else without_surrogates(text)


def _field_names(value: Any, kind: type) -> list[str] | None:
    """List the fields of an object that declares them or only holds attributes; None for any other."""
    if hasattr(kind, _DATACLASS):
        return [field.name for field in sys.modules["dataclasses"].fields(value)]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    declared = getattr(kind, "__struct_fields__", None) or getattr(kind, "__fields__", None)  # msgspec; pydantic 1
    if declared:
        return list(declared)
    argparse = sys.modules.get("argparse")
    if isinstance(value, SimpleNamespace) or (argparse is not None and isinstance(value, argparse.Namespace)):
        return list(vars(value))
    return None


def _attributes(config: Any) -> dict[str, Any]:
    """Find the public attributes of an object, or of a class that is used as one, with those of its bases."""
    found: dict[str, Any] = {}
    is_class = issubclass(type(config), type)
    for owner in reversed((config if is_class else type(config)).__mro__):
        found |= vars(owner)
    if not is_class:
        slots = [name for name, value in found.items() if isinstance(value, MemberDescriptorType)]
        found |= {name: getattr(config, name) for name in slots if hasattr(config, name)}
        found |= attempt(lambda: vars(config), lambda _: {})
    return {name: value for name, value in found.items() if not name.startswith("_") and not _is_code(value)}


def _is_code(attribute: Any) -> bool:
    return callable(attribute) or hasattr(type(attribute), "__get__")
