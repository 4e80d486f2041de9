"""Keys that a service cannot hold are escaped and can be read back."""

import re

import pytest
from hypothesis import given, strategies as st

from runcast.values.names import NameRule, PathRule, decode

# What a rule allows, as a pattern of our own that each name must match.
RULES = {
    "anything": (NameRule(), r".*"),
    "file": (NameRule(r"[^A-Za-z0-9._-]", max_length=128), r"[A-Za-z0-9._-]{1,128}"),
    "no slash": (NameRule("/"), r"[^/]+"),
    "no digits": (NameRule("[ghij0-9]"), None),
    "no edge slash": (NameRule(r"\A/|/\Z", 100), r"(?!/)(?:.*[^/])?"),
    "no edge dashes": (NameRule(r"\A-+|-+\Z"), r"(?!-).*(?<!-)"),
    "path": (NameRule(r"[^\w. :/-]|\A/|//|/\Z", 250), r"(?!/)(?!.*//)[\w. :/-]*(?<!/)"),
    "not at the start": (NameRule(r"\As(?=ummary/)"), r"(?!summary/).*"),
    "last": (NameRule(last=("meter/", "system/")), r"(?!meter/|system/).*"),
    "reserved": (NameRule(reserved=frozenset(("_step", "step"))), r"(?!(?:_step|step)\Z).*"),
}
KEYS = (
    st.sampled_from(["meter/a", "~meter/a", "_x7e_meter/a", "~~meter/a"])
    | st.text()
    | st.text("_x0123456789abcdef/-. s", max_size=12)
    | st.sampled_from(["_step", "step", "_x73_tep", ""])
)
ANY_RULE = st.sampled_from(list(RULES))
LONGEST = 100_000


@given(ANY_RULE, KEYS)
def test_a_name_that_was_not_cut_can_be_read_back(rule: str, key: str) -> None:
    """Decoding undoes encoding, for every key and every service."""
    name_rule = RULES[rule][0]
    whole = NameRule(name_rule.forbidden, LONGEST, name_rule.reserved)

    assert decode(whole.encode(key)) == key


@given(ANY_RULE, KEYS, KEYS)
def test_two_keys_never_become_one_name(rule: str, one: str, other: str) -> None:
    """Two keys are one name only if they are one key."""
    encode = RULES[rule][0].encode

    assert (encode(one) == encode(other)) == (one == other)


@given(ANY_RULE, KEYS)
def test_a_name_is_one_that_the_service_takes(rule: str, key: str) -> None:
    """A name has only allowed characters, is not too long, not empty and not reserved."""
    name_rule, allowed = RULES[rule]

    name = name_rule.encode(key)

    assert 1 <= len(name) <= name_rule.max_length
    assert name not in name_rule.reserved
    assert allowed is None or re.fullmatch(allowed, name, re.DOTALL)


@given(st.text("abcXYZ019._-/ ", min_size=1).filter(lambda key: "_x" not in key))
def test_an_ordinary_key_is_left_alone(key: str) -> None:
    """Where nothing is forbidden, nothing is changed."""
    assert NameRule().encode(key) == key


@pytest.mark.parametrize(
    ("rule", "key", "name"),
    [
        (NameRule(r"[^\w./-]"), "loss@5", "loss_x40_5"),
        (NameRule(r"[^\w./-]"), "naïve λ", "naïve_x20_λ"),
        (NameRule(r"[^A-Za-z]"), "a😀", "a_x1f600_"),
        (NameRule("/"), "a_x2f_b", "a_x5f_x2f_b"),
        (NameRule("/"), "a/b", "a_x2f_b"),
        (NameRule(), "", "_x_"),
        (NameRule(reserved=frozenset({"step"})), "step", "_x73_tep"),
        (NameRule(), "exact_match", "exact_match"),
        (NameRule(), "max_xent", "max_xent"),
    ],
)
def test_an_escape_shows_the_code_point(rule: NameRule, key: str, name: str) -> None:
    """A person can still read an escaped name, and a script can undo it."""
    assert rule.encode(key) == name
    assert decode(name) == key


@given(st.text("ab/", min_size=41, max_size=200), st.text("ab/", min_size=41, max_size=200))
def test_a_long_key_keeps_its_beginning_and_stays_unique(one: str, other: str) -> None:
    """A key longer than the service allows is cut to its limit; two of them that begin alike stay two."""
    rule = NameRule(max_length=40)

    name = rule.encode(one)

    assert len(name) == 40
    assert name[:29] == one[:29]
    assert (name == rule.encode(other)) == (one == other)


@given(st.text("a@", min_size=1, max_size=100))
def test_a_cut_name_is_allowed_as_well(key: str) -> None:
    """Neither the cut nor the digest brings in a character that the service refuses."""
    name = NameRule(r"[^A-Za-z0-9._-]", max_length=32).encode(key)

    assert re.fullmatch(r"[A-Za-z0-9._-]{1,32}", name)


def test_what_is_shown_last_sorts_after_letters_and_its_name_is_its_own() -> None:
    """A user's name that looks like a meter's in its place stays another one."""
    rule = NameRule(last=("meter/",))

    assert [rule.encode(key) for key in ("meter/a", "~meter/a", "~other/a", "meters/a")] == [
        *("~meter/a", "_x7e_meter/a", "~other/a", "meters/a"),
    ]


def test_a_path_has_no_zero_byte() -> None:
    """No file system takes one; a media file of such a key was refused by W&B."""
    name = PathRule().encode("a\0b")

    assert name == "a_x0_b"
    assert decode(name) == "a\0b"
