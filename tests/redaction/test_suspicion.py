"""The quick first look at a text finds every text that the patterns would change."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from runcast.redaction import tree
from runcast.redaction.suspicion import may_hold_secret
from tests.properties.corpus import ANYWHERE, ELSEWHERE, NAMES, SHAPED, UNDER_A_NAME, VALUE, planted

NAMED = [
    "token", "API key", "pwd", "author", "x", "Set-Cookie", "--hub_token", "-p", "-u", "HF_TOKEN", "sig", "path",
    "=", ":", "=>", ":=", " ", "  ", "\n", "\t", '"', "'", "\\", '\\"', ",", "-", "--", ".", "/", "?", "&", "[", "{",
    "curl", "sshpass", "docker login", "machine", "login", "password", "Bearer ", "https://", "bob:", "@host", "|",
    '  File "a.py", line 3\n    ', "-----BEGIN RSA PRIVATE KEY-----", VALUE, VALUE[:9],
]  # fmt: skip
PIECES = st.sampled_from([*NAMED, *SHAPED.values()])


def texts_in(value: Any) -> Iterator[str]:
    """Find the texts in a tree."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(texts_in, itertools.chain(value, value.values())))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(texts_in, value))


def redacted_with_every_pattern(text: str) -> str:
    """Redact a text as if the first look found something in each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "may_hold_secret", lambda _: True)
        return tree.redact_text(text)


def test_no_planted_secret_is_overlooked() -> None:
    """Each secret of the corpora, in each of its places, alone and among other texts."""
    trees = [
        *(make(secret) for make in ANYWHERE.values() for secret in SHAPED.values()),
        *(make(name, VALUE) for make in UNDER_A_NAME.values() for name in NAMES),
        *ELSEWHERE.values(),
        *(secret.value for secret in planted()),
    ]
    texts = list(texts_in(trees))

    changed = [text for text in texts if redacted_with_every_pattern(text) != text]

    assert len(changed) > 1000
    assert [text for text in changed if not may_hold_secret(text)] == []
    assert [text for text in changed if not may_hold_secret(f"prose\n{text}\nprose")] == []


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=9).map("".join))
def test_any_text_is_redacted_as_with_every_pattern(text: str) -> None:
    """Names, signs, options, quotes and keys in any order."""
    assert tree.redact_text(text) == redacted_with_every_pattern(text)


def test_one_secret_in_a_column_is_gone_and_the_other_cells_stay() -> None:
    """Also where many cells are looked at together."""
    cells = [f"an answer, {number}" for number in range(200)]
    cells[150] = f"HF_TOKEN={VALUE}"

    redacted = tree.redact_column("text", [*cells, None])

    assert redacted == [*cells[:150], "HF_TOKEN=[redacted]", *cells[151:], None]
    assert tree.redact_column("hub_token", [VALUE, 7, None]) == ["[redacted]", 7, None]


def test_ordinary_texts_are_not_read_twice() -> None:
    """Prose, chats, code and mathematics raise no suspicion, and so cost little."""
    ordinary = [
        "Question: what is 3 + 4 = 7? Answer: \\boxed{7}\n<think>First: a key insight - then max_tokens=5.</think>",
        '{"role": "user", "content": "Write an e-mail to the author, bob@host."}',
        "def f(path: str, lr: float = 0.1) -> None:\n    return train(path, lr=lr, tokenizer='gpt2', top_k=5)\n",
        "https://host/a/b?page=2 python train.py --num_tokens 5 --user bob",
    ]

    assert [text for text in ordinary if may_hold_secret(text)] == []
