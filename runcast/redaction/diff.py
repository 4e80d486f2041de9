"""Secrets in a diff, each line judged without the mark before it, by what kind of file it is of.

In Python's source only literals are secrets, as in a traceback: `token = load(path)` stays. A file whose name tells
that it holds nothing but secrets (`.env`, `id.pem`, `token.txt`) loses all of its lines.
"""

import re
from itertools import groupby

from runcast.redaction.code import REDACTED, redact_source
from runcast.redaction.names import Secrecy, secrecy_of
from runcast.redaction.shapes import redact_shapes
from runcast.redaction.tree import redact_text

SOURCE = (".py", ".pyi", ".pyx")
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_OF_SECRETS = re.compile(
    r"\.env\b.*|.*\.(?:env|pem|key|p12|pfx|jks|kdbx)|\.netrc|\.pypirc|\.git-credentials|id_[a-z0-9]+"
)
_BASE64 = re.compile(
    r"""(?m)^(\s*["']?)[A-Za-z0-9+/]{60,}={0,2}"""
)  # a part of a key, whose first line may not be shown


def redact_diff(diff: str) -> str:
    """Return a diff in Git's form without secrets; line ends stay as they are."""
    redacted: list[str] = []
    for (file, mark), lines in groupby(_marked_lines(diff), key=lambda found: found[:2]):
        texts = [text for *_, text in lines]
        is_source = file.endswith(SOURCE)
        if not mark:  # a hunk's header ends in a line of the file
            redacted += [redact_source(redact_shapes(text)) if is_source else redact_text(text) for text in texts]
        elif _holds_secrets(file):
            redacted += [mark + REDACTED for _ in texts]
        else:
            block = _redact_block("\n".join(texts), is_source=is_source)
            redacted += [mark + text for text in block.split("\n")]
    return "\n".join(redacted)


def _marked_lines(diff: str) -> list[tuple[str, str, str]]:
    """List the lines of a diff as the name of their file, their mark ("+", "-", " ", or none of a header) and the rest.

    A removed line "-- x" looks like a header: the counts of a hunk tell them apart.
    """
    found, file, old, new = list[tuple[str, str, str]](), "", 0, 0
    for line in diff.split("\n"):
        mark = line[:1] if old > 0 or new > 0 else ""
        if mark in ("+", "-", " "):
            found.append((file, mark, line[1:]))
            old, new = old - (mark != "+"), new - (mark != "-")
            continue
        found.append((file, "", line))
        if line.startswith("diff --git "):
            file, old, new = line.rstrip('\r"').rpartition("/")[2], 0, 0
        elif hunk := _HUNK.match(line):
            old, new = (int(count or 1) for count in hunk.groups())
    return found


def _holds_secrets(file: str) -> bool:
    stem = file.rpartition(".")[0] or file
    is_told = secrecy_of(stem) in (Secrecy.SURE, Secrecy.TOKEN)
    return bool(_OF_SECRETS.fullmatch(file)) or (is_told and not file.endswith(SOURCE))


def _redact_block(text: str, *, is_source: bool) -> str:
    text = re.sub(_BASE64, rf"\1{REDACTED}", redact_shapes(text))
    if not is_source:
        return redact_text(text)
    lines = text.split("\n")
    return "\n".join(redact_text(line) if line.lstrip().startswith("#") else redact_source(line) for line in lines)
