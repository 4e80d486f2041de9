"""Secrets are taken out wherever they stand; what only looks like one stays (both are in tests/properties/corpus.py)."""

import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, strategies as st

from runcast.redaction.tree import redact, redact_text
from runcast.values.params import plain
from tests.properties.corpus import (
    ANYWHERE,
    ELSEWHERE,
    HARMLESS,
    LOOK_ALIKES,
    NAMES,
    SHAPED,
    UNDER_A_NAME,
    URL_SAFE,
    VALUE,
    Planted,
    planted,
)


def survives(secret: str, tree: Any) -> bool:
    """Tell whether any long part of a secret is left in the redacted tree."""
    left = str(redact(tree))
    return secret in left or secret[-16:] in left or "[redacted]" not in left


@pytest.mark.parametrize("shape", SHAPED)
def test_a_secret_of_a_known_shape_is_gone_wherever_it_stands(shape: str) -> None:
    """A service's own form of key is recognised without a name: as a value, as a key, in prose, URLs and code."""
    secret = SHAPED[shape]

    kept = [place for place, make in ANYWHERE.items() if survives(secret, make(secret))]

    assert kept == []


@pytest.mark.parametrize("name", NAMES)
def test_a_value_under_a_telling_name_is_gone_however_it_is_written(name: str) -> None:
    """A name such as hub_token or DB-PASSWORD hides its value in trees, arguments, URLs, JSON and YAML."""
    kept = [place for place, make in UNDER_A_NAME.items() if survives(VALUE, make(name, VALUE))]

    assert kept == []


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_secret_in_a_url_header_or_file_is_gone(place: str) -> None:
    """Passwords in URLs, signatures, headers, netrc lines, connection strings and webhooks are recognised."""
    assert not survives(VALUE, ELSEWHERE[place])


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LOOK_ALIKES.items() for value in values])
def test_a_value_that_only_looks_like_a_secret_stays(name: str, value: Any) -> None:
    """Token counts, special tokens, tokenizers, hashes, ids, paths and plain words are kept as they are."""
    tree = {"config": {name: value}}

    assert redact(tree) == tree


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_stays(text: str) -> None:
    """Prose, code, URLs and command lines that speak of tokens and passwords without holding one are kept."""
    assert redact_text(text) == text
    assert "\n" in text or redact(text.split(" ")) == text.split(" ")


@pytest.mark.parametrize("secret", list(planted()), ids=lambda secret: secret.label)
def test_a_planted_secret_is_gone(secret: Planted) -> None:
    """Each secret of the corpus is gone from a config that holds it, and its absence is shown unless it was bytes."""
    left = str(redact(plain({"x": secret.value})))

    assert not [piece for piece in secret.pieces if piece in left]
    assert "[redacted]" in left or "bytes" in secret.label


def test_the_corpora_are_large() -> None:
    """At least 200 secrets are planted, and at least 200 look-alikes."""
    assert len(list(planted())) >= 200
    assert sum(map(len, LOOK_ALIKES.values())) + len(HARMLESS) >= 200


def test_what_surrounds_a_secret_stays() -> None:
    """Only the secret is replaced; its name, its user, its quotes and the rest of the text can still be read."""
    tree = {
        "url": "postgres://bob:hunter2@db:5432/runs?ssl=1",
        "command": "train.py --api-key abc123 --lr 0.1",
        "json": '{"lr": 0.1, "password": "hunter2", "seed": 1}',
        "query": "https://host/a?token=abc123&page=2",
        "argv": ["train.py", "--api-key", "abc123", "--token=abc123", "--lr", "0.1"],
        "headers": {"Authorization": "Bearer abc123", "Accept": "text/html"},
        "curl": "curl -H 'Authorization: Basic abc123==' https://host",
    }

    assert redact(tree) == {
        "url": "postgres://bob:[redacted]@db:5432/runs?ssl=1",
        "command": "train.py --api-key [redacted] --lr 0.1",
        "json": '{"lr": 0.1, "password": "[redacted]", "seed": 1}',
        "query": "https://host/a?token=[redacted]&page=2",
        "argv": ["train.py", "--api-key", "[redacted]", "--token=[redacted]", "--lr", "0.1"],
        "headers": {"Authorization": "[redacted]", "Accept": "text/html"},
        "curl": "curl -H 'Authorization: [redacted]' https://host",
    }


def test_a_number_a_bool_and_none_under_a_secret_name_stay() -> None:
    """`token=True` and `password=None` say that there is something to log in with, not what."""
    tree = {"token": True, "password": None, "api_key": 5, "secret": 0.5, "credentials": [1, False, None]}

    assert redact(tree) == tree


def test_two_secret_keys_do_not_become_one() -> None:
    """A mapping whose keys are secrets keeps all of its values."""
    tree = {SHAPED["hugging face"]: 1, SHAPED["github classic"]: 2}

    assert redact(tree) == {"[redacted]": 1, "[redacted] (another)": 2}


def test_a_dataclass_is_redacted_by_its_fields() -> None:
    """The name of a field tells that it holds a secret, also in a dataclass within a dataclass."""

    @dataclass
    class Hub:
        hub_token: str
        private: bool

    @dataclass
    class Config:
        lr: float
        hub: Hub

    config = Config(0.1, Hub(VALUE, True))

    assert redact(plain(config)) == {"lr": 0.1, "hub": {"hub_token": "[redacted]", "private": True}}


def test_the_users_tree_is_not_changed() -> None:
    """Redaction returns a copy."""
    tree = {"a": [{"token": "abc123"}]}

    redact(tree)

    assert tree == {"a": [{"token": "abc123"}]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(JSON)
def test_redacting_twice_is_redacting_once(tree: Any) -> None:
    """What was redacted holds no secret any more."""
    once = redact(tree)

    assert redact(once) == once


@given(JSON)
def test_redaction_keeps_the_shape_of_a_tree(tree: Any) -> None:
    """No value is lost and none changes its type."""

    def shape(node: Any) -> Any:
        if isinstance(node, dict):
            return [shape(value) for value in node.values()]
        return [shape(value) for value in node] if isinstance(node, list) else type(node)

    assert shape(redact(tree)) == shape(tree)


@given(st.text(alphabet=URL_SAFE, min_size=1), st.text(), st.sampled_from(["password", "api_key", "clientSecret"]))
def test_any_assigned_value_is_gone(value: str, rest: str, name: str) -> None:
    """A value behind `name=` never survives, whatever it is made of and whatever follows."""
    text = redact_text(f"{name}={value}!\n{rest}")

    assert text.startswith(f"{name}=[redacted]\n")


HOSTILE = [
    *("a", "-", ".", " ", "/", "é", '"', "\\", "sk-", "eyJaaaaaaaa-", "eyJaaaaaaaa.", "AKIA", "SG.aaaaaaaaaaaaaaaaaa-"),
    *("password=", "password='password=\"", "password=[ ", "token=[\n", "token: [", "token: a", "--token -"),
    *('token="\\"', 'token=\\\\\\"', "://a:b", "://a:b/", "cookie:aaa", "bearer aaaaaaaa ", "123456789:AA"),
    *("-----BEGIN PRIVATE KEY ", "-----BEGIN PRIVATE KEY-----", "machine a login b password "),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_text_takes_time_in_proportion(piece: str) -> None:
    """No text holds redaction up: twice the length takes about twice the time, so a megabyte takes seconds at most."""

    def seconds(size: int) -> float:
        text = "token" + piece * (size // len(piece))
        start = time.process_time()
        redact_text(text)
        return time.process_time() - start

    half, whole = seconds(150_000), seconds(300_000)

    assert whole < 3 * half + 0.5
