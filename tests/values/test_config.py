"""Any config becomes a stable tree of JSON values."""

import argparse
import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import itertools
import json
import pathlib
import subprocess
import sys
import types
import uuid
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from runcast.values.config import plain, plain_value


class Color(enum.Enum):
    RED = "red"


class Level(str, enum.Enum):
    HIGH = "high"


@dataclass
class Optimizer:
    name: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class Config:
    shape: tuple[int, int] = (224, 224)
    dtype: str = "bf16"
    optimizer: Optimizer = field(default_factory=Optimizer)


class Frozen(msgspec.Struct):
    lr: float = 0.1


Pair = collections.namedtuple("Pair", ["x", "y"])


def named(value: float = 1.0) -> float:
    """Return *value*, so that there is a function to name."""
    return value


def test_nothing_is_an_empty_tree() -> None:
    """A run without a config has an empty one."""
    assert plain(None) == {}


def test_json_values_stay_as_they_are() -> None:
    """What JSON can hold is kept, including every type."""
    tree = {"a": {"b": [1, 2.5, "x", True, None, [], {}]}}

    result = plain(tree)

    assert result == tree
    assert json.loads(json.dumps(result)) == tree


def test_the_users_config_is_not_changed() -> None:
    """Reading a config leaves it as it was, and later changes to it do not change what was read."""
    config = {"a": [1, {"b": 2}]}

    tree = plain(config)
    config["a"].append(3)  # type: ignore[attr-defined]

    assert tree == {"a": [1, {"b": 2}]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (2**63 - 1, 9223372036854775807),
        (2**63, "9223372036854775808"),
        (1j, "1j"),
        (range(3), "range(0, 3)"),
        (b"abc", "bytes(3)"),
        (bytearray(2), "bytes(2)"),
        (Color.RED, "RED"),
        (Level.HIGH, "HIGH"),
        (decimal.Decimal("0.10"), "0.10"),
        (fractions.Fraction(1, 3), "1/3"),
        (dt.date(2026, 11, 20), "2026-11-20"),
        (dt.datetime(2026, 11, 20, 10, 30), "2026-11-20T10:30:00"),
        (dt.timedelta(hours=1), "1:00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/data/train"), "/data/train"),
        ("\ud800", "\\ud800"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 10, 1, "b", "a"}, [1, 3, 10, "a", "b"]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (collections.deque([1, 2]), [1, 2]),
        (Pair(1, 2), {"x": 1, "y": 2}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (argparse.Namespace(lr=0.1), {"lr": 0.1}),
        (types.SimpleNamespace(lr=0.1), {"lr": 0.1}),
        (Frozen(), {"lr": 0.1}),
        (int, "int"),
        (len, "len"),
        (collections.OrderedDict, "collections.OrderedDict"),
        (json, "json"),
        (functools.partial(len, [1], key="a"), 'partial(len, [1], key="a")'),
        (object(), "object"),
        ((i for i in "abc"), "generator"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([7]), 7),
        (np.array(2.5), 2.5),
        (np.float64("nan"), "NaN"),
        (np.str_("a"), "a"),
        (np.zeros((2, 3), np.float32), "ndarray(float32, [2, 3])"),
        (np.dtype("int8"), "int8"),
        (np.datetime64("2026-11-20"), "2026-11-20"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_python_value_has_one_json_form(value: Any, expected: Any) -> None:
    """Every usual type is kept as a number or a text that says what it was."""
    result = plain_value(value)

    assert result == expected
    assert type(result) is type(expected)


def test_a_function_is_named_in_full() -> None:
    """A function or a method is written with the module that it comes from."""
    assert str(plain_value(named)).endswith("test_config.named")
    assert plain_value(argparse.ArgumentParser.parse_args) == "argparse.ArgumentParser.parse_args"


def test_dataclasses_are_read_field_by_field() -> None:
    """Fields keep their names at every depth; a config with a shape and a dtype is not mistaken for an array."""
    assert plain(Config()) == {
        "shape": [224, 224],
        "dtype": "bf16",
        "optimizer": {"name": "adamw", "betas": [0.9, 0.999]},
    }


@pytest.mark.parametrize("method", ["to_dict", "as_dict", "model_dump", "flag_values_dict"])
def test_an_object_that_can_say_itself_as_a_dict_is_asked(method: str) -> None:
    """Config classes of other libraries are read through their own method."""
    kind = type("TheirConfig", (), {method: lambda self: {"lr": 0.1, "color": Color.RED}})

    assert plain(kind()) == {"lr": 0.1, "color": "RED"}


def test_an_entry_that_cannot_be_read_leaves_the_others() -> None:
    """As in ml_collections, where `to_dict` raises for one placeholder that has no value yet."""

    class ConfigDict:
        def __init__(self, **entries: Any) -> None:
            self._entries = entries

        def keys(self) -> list[str]:
            return list(self._entries)

        def __getitem__(self, key: str) -> Any:
            if self._entries[key] is ...:
                raise ValueError(f"{key} is required and has no value")
            return self._entries[key]

        def to_dict(self) -> dict[str, Any]:
            return {key: self[key] for key in self.keys()}

    config = {"seed": 1, "model": ConfigDict(depth=3, data=..., optimizer=ConfigDict(lr=0.5))}

    assert plain(config) == {
        "seed": 1,
        "model": {"depth": 3, "data": "<unreadable: ValueError>", "optimizer": {"lr": 0.5}},
    }


def test_a_transformers_config_is_read() -> None:
    """A model's config keeps its sizes and its type."""
    transformers = pytest.importorskip("transformers")

    tree = plain({"model": transformers.BertConfig(hidden_size=48)})

    assert tree["model"]["hidden_size"] == 48
    assert tree["model"]["model_type"] == "bert"


def test_a_pydantic_model_is_read_and_its_secrets_are_not() -> None:
    """A SecretStr never gives away its text."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", lr=(float, 0.1), key=(pydantic.SecretStr, pydantic.SecretStr("abc")))

    assert plain(model()) == {"lr": 0.1, "key": "[redacted]"}


def test_an_address_of_pydantic_is_text() -> None:
    """Its repr is code."""
    pydantic = pytest.importorskip("pydantic")

    assert plain({"url": pydantic.HttpUrl("http://host/path")}) == {"url": "http://host/path"}


def test_an_attrs_object_is_read() -> None:
    """The fields of an attrs class are its names."""
    attr = pytest.importorskip("attr")
    kind = attr.make_class("Attrs", {"lr": attr.ib(default=0.1)})

    assert plain(kind()) == {"lr": 0.1}


def test_omegaconf_is_resolved_as_far_as_it_can_be() -> None:
    """Interpolations are followed; a missing value and one that leads nowhere are kept as they are written."""
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create(
        {"lr": 0.1, "twice": "${lr}", "data": "???", "lost": "${nowhere}", "list": [1, "${lr}", {"deep": "${lr}"}]}
    )

    assert plain(config) == {
        "lr": 0.1,
        "twice": 0.1,
        "data": "???",
        "lost": "${nowhere}",
        "list": [1, 0.1, {"deep": 0.1}],
    }


def test_torch_values_are_described() -> None:
    """A tensor of one element on the host is its number; any other tensor, dtype, device or model is described."""
    torch = pytest.importorskip("torch")
    config = {
        "one": torch.tensor(1.5, requires_grad=True),
        "many": torch.zeros(3, 224, 224),
        "half": torch.zeros(2, dtype=torch.bfloat16),
        "meta": torch.zeros(1, device="meta"),
        "sparse": torch.ones(1).to_sparse(),
        "dtype": torch.bfloat16,
        "device": torch.device("cuda:0"),
        "size": torch.Size([1, 2]),
        "model": torch.nn.Linear(1, 1),
        "act": torch.nn.functional.relu,
    }

    assert plain(config) == {
        "one": 1.5,
        "many": "Tensor(float32, [3, 224, 224])",
        "half": "Tensor(bfloat16, [2])",
        "meta": "Tensor(float32, [1], meta)",
        "sparse": "Tensor(float32, [1])",
        "dtype": "torch.bfloat16",
        "device": "cuda:0",
        "size": [1, 2],
        "model": "torch.nn.modules.linear.Linear",
        "act": "torch.nn.functional.relu",
    }


@pytest.mark.gpu
def test_a_device_tensor_is_never_waited_for() -> None:
    """A tensor on a device is described, as reading it would synchronise."""
    torch = pytest.importorskip("torch")

    assert plain({"x": torch.ones(1, device="cuda")}) == {"x": "Tensor(float32, [1], cuda:0)"}


def test_a_data_frame_is_described_whatever_its_columns_are_called() -> None:
    """A frame with a column named device is still a frame."""
    pandas = pytest.importorskip("pandas")

    assert plain({"x": pandas.DataFrame({"device": [1, 2], "layout": [3, 4]})}) == {"x": "DataFrame([2, 2])"}


def test_a_class_used_as_a_config_gives_its_attributes() -> None:
    """`class CFG: lr = 0.1` is a config, as a class or as an object; methods and private names are none of it."""

    class Base:
        seed = 1

    class CFG(Base):
        lr = 0.1
        _private = 2

        def __init__(self) -> None:
            self.epochs = 3

        @property
        def computed(self) -> int:
            raise RuntimeError

    assert plain(CFG) == {"seed": 1, "lr": 0.1}
    assert plain(CFG()) == {"seed": 1, "lr": 0.1, "epochs": 3}


def test_the_slots_of_an_object_are_its_attributes() -> None:
    """A class with `__slots__` keeps its values elsewhere; one that was never set is none."""

    class Base:
        __slots__ = ("lr",)

    class CFG(Base):
        __slots__ = ("_private", "epochs", "unset")

        def __init__(self) -> None:
            self.lr, self.epochs, self._private = 0.1, 3, 2

    assert plain(CFG()) == {"lr": 0.1, "epochs": 3}


@pytest.mark.parametrize("config", [[1, 2], "text", 5, (1, 2)])
def test_a_config_without_names_stands_under_config(config: Any) -> None:
    """A list or a number can be logged as well."""
    assert plain(config) == {"config": list(config) if isinstance(config, tuple) else config}


def test_keys_become_text_and_never_meet() -> None:
    """The key 1 and the key "1" are two keys, in whatever order they come."""
    assert plain({1: "int", "1": "str"}) == {"1 (int)": "int", "1": "str"}
    assert plain({"1": "str", 1: "int"}) == {"1": "str", "1 (int)": "int"}
    assert plain({None: 1, True: 2, 0.5: 3, (1, "a"): 4, Color.RED: 5}) == {
        "None": 1,
        "True": 2,
        "0.5": 3,
        '[1,"a"]': 4,
        "RED": 5,
    }


def test_a_cycle_is_cut() -> None:
    """A config that holds itself ends where it does; one value at two places is no cycle."""
    config: dict[str, Any] = {"a": {"b": 1}}
    config["a"]["self"] = config
    shared = [1]

    assert plain(config) == {"a": {"b": 1, "self": "<cycle>"}}
    assert plain({"x": shared, "y": shared}) == {"x": [1], "y": [1]}


def test_a_deep_config_is_cut_at_32_levels() -> None:
    """No depth exhausts the stack."""
    config: Any = "bottom"
    for _ in range(10_000):
        config = {"x": config}

    tree: Any = plain(config)
    for _ in range(32):
        tree = tree["x"]

    assert tree == "<dict: nested more than 32 deep>"


def test_a_long_collection_is_described() -> None:
    """Ten thousand elements are kept, more are counted; a long text is kept whole."""
    tree = plain({"kept": [0] * 10_000, "list": [0] * 10_001, "set": set(range(10_001)), "text": "x" * 10_000_000})

    assert len(tree["kept"]) == 10_000
    assert tree["list"] == "list(10001)"
    assert tree["set"] == "set(10001)"
    assert len(tree["text"]) == 10_000_000


def test_a_mapping_whose_keys_never_end_is_described() -> None:
    """A proxy may answer to everything with itself."""

    class Proxy:
        def keys(self) -> Any:
            return itertools.count()

        def __getitem__(self, key: Any) -> Any:
            return self

    assert plain({"x": Proxy(), "lr": 0.1}) == {"x": "Proxy(more than 10000)", "lr": 0.1}


def test_shared_parts_cannot_explode() -> None:
    """Twenty lists that hold each other twice are a million values, of which a hundred thousand are read."""
    config: Any = [1]
    for _ in range(20):
        config = [config, config]

    text = json.dumps(plain({"x": config}))

    assert text.count("1,") < 100_000
    assert "<left out: the config has more than 100,000 values>" in text


def test_a_value_that_cannot_be_read_spoils_no_other() -> None:
    """A property, a method, a representation or a mapping that raises is contained where it is."""

    class Bad:
        def __repr__(self) -> str:
            raise KeyError

    class BadDict(dict[str, int]):
        def __getitem__(self, key: str) -> int:
            raise OSError

    @dataclass
    class Half:
        good: int = 1
        late: int = field(init=False)

    class Raises:
        def to_dict(self) -> dict[str, int]:
            raise TypeError

    config = {"repr": Bad(), "dict": BadDict(a=1), "half": Half(), "method": Raises(), "lr": 0.1}

    assert plain(config) == {
        "repr": "<unreadable: KeyError>",
        "dict": {"a": "<unreadable: OSError>"},
        "half": {"good": 1, "late": "<unreadable: AttributeError>"},
        "method": "<unreadable: TypeError>",
        "lr": 0.1,
    }


def test_an_interrupt_is_not_contained() -> None:
    """Ctrl-C while a config is read stops the program, as everywhere."""

    class Slow:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plain({"x": Slow()})


def test_an_object_that_answers_to_every_name_is_described() -> None:
    """Names are looked up on classes, so that an object with a magic `__getattr__` is neither asked nor changed."""

    class Magic:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    assert str(plain_value(Magic())).endswith("Magic")


def test_memory_addresses_are_left_out() -> None:
    """An object that prints its address is named by its class, so that two runs of one script compare as equal."""

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({object()!r})"

    assert str(plain_value(Holder())).endswith("Holder")
    assert "0x" not in json.dumps(plain({"a": object(), "b": [lambda: 0, Holder(), (i for i in "a")]}))


def test_two_processes_write_the_same_tree() -> None:
    """The order of a set depends on the process's hash seed; the tree does not."""
    script = (
        "from runcast.values.config import plain; print(plain({'x': {'a', 'b', 'c', 1, None, (1, 2)}, 'y': object()}))"
    )

    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert outputs == {"{'x': [1, 'a', 'b', 'c', [1, 2], None], 'y': 'object'}\n"}


def test_nothing_is_imported_to_read_a_config() -> None:
    """Reading a config loads neither NumPy nor torch nor OmegaConf."""
    script = (
        "import sys; from runcast.values.params import plain; plain({'a': [1, object()]}); "
        "print(sorted({'numpy', 'torch', 'omegaconf', 'pandas', 'argparse'} & set(sys.modules)))"
    )

    output = subprocess.run([sys.executable, "-c", script], env={}, capture_output=True, text=True, check=True).stdout

    assert output == "[]\n"


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers()
)
KEYS = st.none() | st.booleans() | st.integers() | st.text(st.characters()) | st.tuples(st.integers(), st.text())
ANYTHING = st.recursive(
    SCALARS,
    lambda each: st.lists(each) | st.tuples(each, each) | st.sets(SCALARS, max_size=3) | st.dictionaries(KEYS, each),
)


@given(st.dictionaries(KEYS, ANYTHING))
def test_any_config_becomes_json_and_loses_no_key(config: dict[Any, Any]) -> None:
    """Whatever is in it, the tree can be encoded, read back as it was, and has as many names as the config."""
    tree = plain(config)

    assert len(tree) == len(config)
    assert msgspec.json.decode(msgspec.json.encode(tree)) == tree
    assert plain(tree) == tree
