"""The flat parameters that trackers hold: their names, how they are compared, how they are cut."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from runcast.values.names import decode
from runcast.values.params import flatten, plain, same_param, shorten


def test_nested_names_are_joined_with_slashes() -> None:
    """A value is found under the path that leads to it."""
    tree = {"lr": 0.1, "model": {"name": "bert", "head": {"dim": 64}}, "none": None, "flag": True}

    assert flatten(tree) == {"lr": 0.1, "model/name": "bert", "model/head/dim": 64, "none": None, "flag": True}


def test_a_list_of_scalars_is_one_compact_text() -> None:
    """Lists without mappings, also nested ones, are one parameter."""
    tree = {"betas": [0.9, 0.999], "grid": [[1, 2], [3, 4]], "names": ["é", "a/b", None, True]}

    assert flatten(tree) == {
        "betas": "[0.9,0.999]",
        "grid": "[[1,2],[3,4]]",
        "names": '["é","a/b",null,true]',
    }


def test_a_list_that_holds_mappings_is_joined_by_index() -> None:
    """Each layer of a list of layers has names of its own."""
    tree = {"layers": [{"dim": 1}, {"dim": 2, "act": {"name": "relu"}}, 5, [{"x": 1}], []]}

    assert flatten(tree) == {
        "layers/0/dim": 1,
        "layers/1/dim": 2,
        "layers/1/act/name": "relu",
        "layers/2": 5,
        "layers/3/0/x": 1,
        "layers/4": "[]",
    }


def test_an_empty_collection_is_kept() -> None:
    """Nothing configured is also something that was configured."""
    assert flatten({"a": {}, "b": [], "c": {"d": {}}}) == {"a": "{}", "b": "[]", "c/d": "{}"}
    assert flatten({}) == {}


def test_a_slash_in_a_key_is_kept_where_it_does_no_harm() -> None:
    """A user's own flat names stay as they are."""
    assert flatten({"train/lr": 0.1, "eval": {"batch/size": 8}}) == {"train/lr": 0.1, "eval/batch/size": 8}


def test_two_paths_that_read_alike_stay_two() -> None:
    """The slashes inside colliding keys are escaped, and nothing else is."""
    tree = {"a/b": 1, "a": {"b": 2, "c": 3}, "a_x2f_b": 4}

    flat = flatten(tree)

    assert flat == {"a_x2f_b": 1, "a/b": 2, "a/c": 3, "a_x5f_x2f_b": 4}
    assert decode("a_x2f_b") == "a/b"


def test_lone_surrogates_are_replaced_without_a_collision() -> None:
    """What UTF-8 cannot hold is written as its escape, also beside a key that reads the same."""
    assert flatten({"a": "\ud800x", "b": ["\udfff"]}) == {"a": "\\ud800x", "b": '["\\\\udfff"]'}
    assert flatten({"\ud800": 1, "\\ud800": 2}) == {"_xd800_": 1, "\\ud800": 2}


def test_floats_that_are_not_finite_are_words() -> None:
    """NaN and the infinities are parameters like any other."""
    assert flatten(plain({"a": float("nan"), "b": [float("inf")], "c": {"d": float("-inf")}})) == {
        "a": "NaN",
        "b": '["Infinity"]',
        "c/d": "-Infinity",
    }


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text("ab/_x2f5é")
)
KEYS = st.text("ab/_x2f5é", max_size=8)
TREES = st.recursive(SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=4))


def count_leaves(tree: Any) -> int:
    """Count the parameters of a tree, as one who has never heard of names."""

    def holds_dict(node: Any) -> bool:
        return isinstance(node, dict) or (isinstance(node, list) and any(map(holds_dict, node)))

    if not tree or not holds_dict(tree):
        return 1
    return sum(map(count_leaves, tree.values() if isinstance(tree, dict) else tree))


@given(st.dictionaries(KEYS, TREES, max_size=5))
def test_no_two_values_get_one_name(tree: dict[str, Any]) -> None:
    """Every leaf of every tree has a name of its own, and a value that JSON can hold."""
    flat = flatten(plain(tree))

    assert len(flat) == (count_leaves(tree) if tree else 0)
    assert msgspec.json.decode(msgspec.json.encode(flat)) == flat


@pytest.mark.parametrize(
    ("logged", "read"),
    [
        (1, 1.0),
        (1, "1"),
        (1, "1.0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (1e-5, "0.00001"),
        (-3, "-3"),
        (2**53 + 1, "9007199254740993"),
        (2**53 + 1, float(2**53)),
        (True, "True"),
        (True, "true"),
        (False, "False"),
        (False, "false"),
        (True, True),
        (None, "None"),
        (None, "null"),
        (None, ""),
        (None, None),
        ("adamw", "adamw"),
        ("1", 1),
        ("01", 1),
        ("1e5", 100000.0),
        ("True", True),
        ("NaN", float("nan")),
        ("Infinity", float("inf")),
        ("-Infinity", float("-inf")),
        (float("nan"), float("nan")),
        (float("nan"), "nan"),
        ("", None),
    ],
)
def test_a_parameter_is_recognised_in_what_a_tracker_made_of_it(logged: Any, read: Any) -> None:
    """A text, a float or the value itself: it is the same parameter, whichever side holds which."""
    assert same_param(logged, read)
    assert same_param(read, logged)


@pytest.mark.parametrize(
    ("logged", "read"),
    [
        (1, 2),
        (1, "2"),
        (1, "one"),
        (1, "1_0"),
        (1, " 1"),
        (0.1, 0.2),
        (0.1, "0.10000001"),
        (2**53 + 1, str(2**53)),
        (True, 1),
        (True, 1.0),
        (True, "1"),
        (True, False),
        (True, "False"),
        (True, "TRUE"),
        (False, 0),
        (False, ""),
        (False, None),
        (None, 0),
        (None, "nothing"),
        ("a", "b"),
        ("1", "1.0"),
        ("True", "true"),
        ("", "None"),
        ("adamw", 1),
        ("NaN", 0.0),
        (float("nan"), 0.0),
        ("9" * 5000, 1.0),
        ("a", ["a"]),
        (True, ["True"]),
        (None, []),
    ],
)
def test_two_parameters_that_differ_are_not_the_same(logged: Any, read: Any) -> None:
    """True is not 1, one text is not another, and a number is compared to its last digit."""
    assert not same_param(logged, read)
    assert not same_param(read, logged)


@given(SCALARS)
def test_every_parameter_is_the_same_as_its_text(value: Any) -> None:
    """A tracker that keeps only texts keeps every parameter."""
    assert same_param(value, value)
    assert same_param(value, str(value))


def test_a_short_text_is_not_cut() -> None:
    """A text that fits is left alone, to the last character."""
    assert shorten("x" * 500, 500) == "x" * 500
    assert shorten("", 0) == ""


def test_a_cut_says_that_it_is_one_and_where_the_whole_is() -> None:
    """The reader of a tracker's page sees how long the value was, and which file has it."""
    text = shorten("x" * 123_456, 500)

    assert text == "x" * 451 + "… (cut: 123,456 characters; whole in config.json)"
    assert len(text) == 500


@given(st.text(max_size=300), st.integers(0, 300))
def test_a_text_is_never_longer_than_it_may_be(text: str, max_chars: int) -> None:
    """The note is part of the length, and a limit too small for it still shows an ellipsis."""
    short = shorten(text, max_chars)

    assert len(short) <= max_chars
    assert short == text or "…" in short or max_chars == 0
