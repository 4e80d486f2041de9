"""A config or summary that records what a script changes in it."""

import argparse
import copy
import json
import pickle
from typing import Any

import pytest

from runcast.values.recorded import Recorded


@pytest.fixture
def changes() -> list[dict[str, Any]]:
    """Every change that was recorded."""
    return []


@pytest.fixture
def config(changes: list[dict[str, Any]]) -> Recorded:
    """A config with a nested mapping."""
    return Recorded({"lr": 0.5, "net": {"depth": 2}}, changes.append)


def test_what_a_script_sets_is_recorded(config: Recorded, changes: list[dict[str, Any]]) -> None:
    """As an attribute, as an item, with `update` in each of its forms, `setdefault` and `|=`, and in what is nested."""
    config.lr = 3
    config["seed"] = 1
    config.update({"a": 1}, b=2)
    config.update(c=3)
    config.update(argparse.Namespace(d=4))
    config.update({"lr": 4}, allow_val_change=True)
    config |= {"e": 5}
    config.net.depth = 7
    config["net"]["width"] = 8

    assert config.setdefault("f", 6) == 6
    assert config.setdefault("lr", 0) == 4
    assert changes == [
        {"lr": 3},
        {"seed": 1},
        {"a": 1, "b": 2},
        {"c": 3},
        {"d": 4},
        {"lr": 4},
        {"e": 5},
        {"net": {"depth": 7}},
        {"net": {"width": 8}},
        {"f": 6},
    ]
    assert config == {
        "lr": 4,
        "seed": 1,
        "a": 1,
        "b": 2,
        "c": 3,
        "d": 4,
        "e": 5,
        "f": 6,
        "net": {"depth": 7, "width": 8},
    }


def test_it_is_a_dict_for_everybody(config: Recorded) -> None:
    """It can be iterated, spread, written as JSON and copied; copies record nothing."""
    assert dict(**config) == {"lr": 0.5, "net": {"depth": 2}}
    assert json.loads(json.dumps(config)) == {"lr": 0.5, "net": {"depth": 2}}
    assert type(config.as_dict()["net"]) is dict
    assert config.get("nothing") is None


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_records_nothing(copied: Any, config: Recorded, changes: list[dict[str, Any]]) -> None:
    """A worker that gets the config may read and change it."""
    other = copied(config)

    other.net.depth = 3

    assert (other.lr, other.net.depth) == (0.5, 3)
    assert config.net.depth == 2
    assert changes == []


def test_secrets_are_redacted(config: Recorded, changes: list[dict[str, Any]]) -> None:
    """Under a telling name, also of the mapping around it."""
    config.password = "hunter2hunter2"
    config.login = {}
    config.login["password"] = "hunter2hunter2"

    assert "hunter2" not in str(changes) + str(config)


def test_a_missing_name_says_what_there_is(config: Recorded) -> None:
    """A typo is an AttributeError, as `hasattr` and `getattr` expect."""
    with pytest.raises(AttributeError, match=r"no 'lrr' here\. There is: lr, net"):
        config.lrr  # noqa: B018
    assert getattr(config, "nothing", 5) == 5


def test_any_value_becomes_plain(config: Recorded) -> None:
    """What is read back is what was recorded."""

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    config.a, config.b, config.c = (1, 2), Odd(), {1: "x"}

    assert config.a == [1, 2]
    assert isinstance(config.b, str)
    assert config.c == {"1": "x"}
