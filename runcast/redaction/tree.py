"""Redaction: removes secrets before anything is written, judged by their name and by their shape.

A secret becomes "[redacted]". Numbers, bools and None are never secrets. The time is linear in the text. Commands and
source code are handled in `code.py`.
"""

import re
from collections.abc import Mapping
from typing import Any

from runcast.redaction.code import (
    FRAMES,
    REDACTED,
    is_source,
    redact_logins,
    redact_source,
    takes_login,
    without_password,
)
from runcast.redaction.names import Secrecy, hides, is_random, secrecy_of

__all__ = ["REDACTED", "SafeKeys", "redact", "redact_shapes", "redact_text", "redact_under"]

_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_ASSIGNED = re.compile(r"([-+]{0,2}[\w./-]{1,128})=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*_[A-Z0-9_]*")

# Rarely used patterns stay strings: `re` compiles and caches each on first use, which keeps start-up short.
_PRIVATE_KEY = (
    r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_IN_URL = (
    r"""(://[^\s/?#:@"'<>\[]{0,256}:)(?!\d{1,5}[/?#])[^\s"'<>]{1,256}@(?!sha256:)|(https?://)[^\s/?#:@"'<>]{16,}@"""
)
_WEBHOOK = r"(hooks\.slack\.com/\w+/|discord(?:app)?\.com/api/webhooks/)[\w/-]+"
_NETRC = r"(machine\s+\S{1,256}\s+login\s+\S{1,256}\s+password\s+)\S+"
_BEARER = r"(?<![A-Za-z0-9])([Bb]earer\s{1,8})([\w.~+/=-]{8,})"
_COOKIE = r"""(?i)(?<![\w-])((?:set-)?cookie["']?:[ \t]{0,8}["']?)(?=[^\s"'=]{1,256}=)[^\r\n"']+"""

# Keys that are recognized by their shape, without a name: their prefixes and the rest.
_SHAPES = (
    ("hf_ api_org_", r"[A-Za-z0-9]{30,}"),
    ("sk-", r"(?=[a-z_-]{0,40}[A-Z0-9])[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic, OpenRouter …; not sk-learn-contrib-…
    ("sk_live_ sk_test_ rk_live_ rk_test_", r"[A-Za-z0-9]{16,}"),  # Stripe
    ("ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{30,}"),
    ("github_pat_ wandb_v1_", r"[A-Za-z0-9_-]{20,}"),
    ("glpat- gldt- glrt- glptt- glcbt- glsoat-", r"[A-Za-z0-9_.-]{20,}"),
    ("xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-", r"[A-Za-z0-9.-]{10,}"),
    ("AIza GOCSPX- ya29.", r"[A-Za-z0-9_-]{20,}"),
    ("AKIA ASIA", r"""[A-Z0-9]{16}(?![A-Za-z0-9])(?:[\s,:;|"'=]{1,5}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+]))?"""),
    ("npm_ r8_ gsk_ xai- nvapi- pypi-AgE", r"[A-Za-z0-9_-]{30,}"),
    ("dapi dop_v1_ lsv2_pt_ lsv2_sk_", r"[0-9a-f]{32,}\w*"),  # Databricks, DigitalOcean, LangSmith
    ("SG.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),  # SendGrid
    ("eyJhcGlfYWRkcmVzcyI6", r"[A-Za-z0-9+/_=-]+"),  # Neptune
)
_MARKS = tuple(mark for marks, _ in _SHAPES for mark in marks.split())
# A key starts a word, also after the %3D of a URL and the \n of a text inside a text.
_START = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_SHAPED = (
    _START + "(?:" + "|".join(f"(?:{'|'.join(map(re.escape, marks.split()))}){rest}" for marks, rest in _SHAPES) + ")"
)
_JWT = _START + r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*"
_TELEGRAM = _START + r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"

# A name and what binds it to its value: `name=`, `name: `, `"name": `, `\"name\": `, `--name `, `'--name', `.
_NAMED = r"""(?x)(?<![\w.-])(?:
        (?P<name>[\w.-]+)(?P<quote>\\*["'])?[ \t]{0,8}(?P<sign>=>|:=|==?|:)[ \t]{0,8}
      | (?P<flag>--?[A-Za-z][\w.-]*)(?:[ \t]{1,8}(?=[^\s-])|\\*["']\s{0,40},\s{0,40}(?=\\*["'][^-]))
    )"""
_NAME_PARTS = re.compile(r"(?i)tok|key|pass|pw|secret|cred|auth|cookie|jwt|bearer|pat(?![a-z])|sig[a-z]{0,6}=")
_VALUE = r"""(?xs)(?:[bBrRuU]{1,2}(?=["']))?(?:
        (?P<escaped>\\+["'])(?P<inner>[^\n]*?)(?:(?P=escaped)|(?=\n)|\Z)
      | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
      | '(?P<single>[^'\\]*(?:\\.[^'\\]*)*)'
      | ["'](?P<open>[^\n]+)
      | (?P<bracket>\[[^\]]{0,1000}\]|\{[^{}]{0,1000}\}|\([^()]{0,1000}\)|[\[({][^\n]{1,1000})
      | (?P<bare>\$\{[^\s{}]{1,400}\}|(?:(?i:basic|bearer|token|digest|apikey|negotiate)[ \t]{1,8})?
        [^\s"'&;,)\[\](){}]+(?:[,)\[\](){}]+[^\s"'&;,)\[\](){}]+)*))
    """
_WHOLE = r"""(?P<bare>[^\s"']+)"""
_WITH_SCHEME = r"(?i)(?:basic|bearer|token|digest|apikey|negotiate)[ \t]+\S{8,}"
_WORD_BEFORE = r"([A-Za-z]{2,20}) \Z"
_NO_TEXT = r"//|-?[0-9.]+(?:[eE][+-]?[0-9]+)?\Z"
_NEXT_LINE = r"(?P<block>[|>][-+0-9]{0,2})?[ \t]{0,8}\r?\n"
_MAX_KEYS = 100_000
_MAX_LINES, _MAX_LINE = 100, 2000  # of a value below its name; a limit, so that many names in one text stay cheap


def redact(tree: Any) -> Any:
    """Return a copy of a JSON tree without secrets: under telling names, in argument lists, or by shape."""
    return _redact(tree, "", Secrecy.NONE)


def redact_under(name: str, tree: Any) -> Any:
    """Do the same for a tree under a name."""
    return _redact(tree, name, secrecy_of(name))


def _redact(tree: Any, parent: str, secrecy: Secrecy) -> Any:
    """Redact the value under the name *parent*, of this secrecy."""
    if isinstance(tree, str):
        if parent == "netloc" and "@" in tree:  # of a parsed URL
            login, _, host = tree.rpartition("@")
            return redact_text(f"{without_password(login)}@{host}")
        return REDACTED if hides(secrecy, tree) else redact_text(tree)
    if isinstance(tree, Mapping):
        return _redact_mapping(tree, parent, secrecy)
    if not isinstance(tree, list | tuple):
        return tree
    if secrecy is not Secrecy.NONE:
        return [_redact(value, parent, secrecy) for value in tree]
    if len(tree) == 2 and isinstance(tree[0], str) and _VARIABLE.fullmatch(tree[0]):  # of os.environ.items()
        return [tree[0], _redact(tree[1], tree[0], secrecy_of(tree[0]))]
    return _redact_arguments(tree, parent)


def _redact_mapping(tree: Mapping[str, Any], parent: str, secrecy: Secrecy) -> dict[str, Any]:
    redacted: dict[str, Any] = {}
    label = tree.get("name", tree.get("key"))
    for key, value in tree.items():
        own = secrecy
        if own is Secrecy.NONE and key == "value" and isinstance(label, str):  # {"name": "HF_TOKEN", "value": …}
            own = secrecy_of(label)
        elif own is Secrecy.NONE:
            own = secrecy_of(f"{parent}_{key}" if key == "key" else key)
        name = redact_text(key)
        while name in redacted:
            name += " (another)"
        redacted[name] = _redact(value, key, own)
    return redacted


def _redact_arguments(tree: list[Any] | tuple[Any, ...], parent: str) -> list[Any]:
    """Redact a list, which may be a command line: `--token XYZ` are two elements of it, `TOKEN=XYZ` is one."""
    redacted: list[Any] = []
    awaited = Secrecy.NONE
    for index, value in enumerate(tree):
        if isinstance(value, str) and not value.startswith("-") and hides(awaited, value):
            redacted.append(REDACTED)
        elif isinstance(value, str) and index and takes_login(tree[:index]):
            redacted.append(REDACTED if tree[index - 1] == "-p" else without_password(value))
        elif isinstance(value, str) and (match := _ASSIGNED.fullmatch(value)) and hides(secrecy_of(match[1]), match[2]):
            redacted.append(f"{match[1]}={REDACTED}")
        else:
            redacted.append(_redact(value, parent, Secrecy.NONE))
        awaited = secrecy_of(value) if isinstance(value, str) and _FLAG.fullmatch(value) else Secrecy.NONE
    return redacted


def redact_text(text: str) -> str:
    """Return a text without secrets: keys of known shapes, passwords in URLs, values after telling names.

    Source lines in a traceback lose only their literals: `token = load(path)` is not a secret.
    """
    text = redact_shapes(text)
    if "\n" not in text or not re.search(FRAMES, text):
        return _redact_names(text)
    pieces: list[str] = []
    prose: list[str] = []
    margin: str | None = None
    for line in text.splitlines(keepends=True):
        frame = re.match(FRAMES, line)
        if frame is None and is_source(line, margin):
            pieces += (_redact_names("".join(prose)), redact_source(line))
            prose = []
        else:
            prose.append(line)
            margin = frame[1] if frame else None
    return "".join(pieces) + _redact_names("".join(prose))


def redact_shapes(text: str) -> str:
    """Remove secrets that need no name: of a known shape, in a URL, or after a program's option."""
    if "PRIVATE KEY" in text:
        text = re.sub(_PRIVATE_KEY, REDACTED, text)
    if "://" in text:
        text = re.sub(_IN_URL, lambda match: f"{match[1] or match[2]}{REDACTED}@", text)
    if "hooks." in text or "webhooks/" in text:
        text = re.sub(_WEBHOOK, rf"\1{REDACTED}", text)
    if "eyJ" in text:
        text = re.sub(_JWT, lambda match: REDACTED if match[0].count(".") > 1 else match[0], text)
    if any(mark in text for mark in _MARKS):
        text = re.sub(_SHAPED, REDACTED, text)
    if ":AA" in text:
        text = re.sub(_TELEGRAM, REDACTED, text)
    return redact_logins(text)


def _redact_names(text: str) -> str:
    """Remove the values that follow a telling name."""
    if _NAME_PARTS.search(text):
        text = re.sub(_COOKIE, rf"\1{REDACTED}", re.sub(_NETRC, rf"\1{REDACTED}", text))
        text = re.sub(_BEARER, lambda match: match[1] + REDACTED if any(map(str.isdigit, match[2])) else match[0], text)
        text = _redact_named(text)
    return text


def _redact_named(text: str) -> str:
    pieces: list[str] = []
    done = position = 0
    named, whole, delimited = re.compile(_NAMED), re.compile(_WHOLE), re.compile(_VALUE)
    while match := named.search(text, position):
        position = match.end()
        name = match["name"] or match["flag"]
        secrecy = _secrecy_here(name, text, match.start())
        if secrecy is Secrecy.NONE:
            continue
        bound = match["sign"] != ":" or match["quote"] is not None
        if not bound and secrecy is not Secrecy.SURE and text[position : position + 1] in ("[", "{", "("):
            continue
        ends_at_blank = match["sign"] != ":" and (name.startswith("-") or name.isupper())
        value = (whole.match(text, position) if ends_at_blank else None) or delimited.match(text, position)
        if match["sign"] == ":" and (value is None or (value.lastgroup == "bare" and value[0][0] in "|>")):
            for start, end in _values_below(text, match.start(), position, secrecy):
                pieces += (text[done:start], REDACTED)
                done = position = end
            continue
        if value is None or value.lastgroup is None:
            continue
        start, end = value.span(value.lastgroup)
        if match["sign"] == ":" and value.lastgroup == "bare" and re.match(_NO_TEXT, text[start:end]):
            continue
        if _is_secret(secrecy, text[start:end], bound, _begins_item(text, match.start())):
            pieces += (text[done:start], REDACTED)
            done = position = end
    return "".join(pieces) + text[done:]


def _values_below(text: str, start: int, position: int, secrecy: Secrecy) -> list[tuple[int, int]]:
    """Find the secrets below a name at the end of its line, as in YAML: a scalar, a list, or a block after | or >."""
    below = re.compile(_NEXT_LINE).match(text, position)
    line_start = text.rfind("\n", max(0, start - 80), start) + 1
    if below is None or start - line_start > 80 or text[line_start:start].strip(" \t-\"'"):
        return []
    found: list[tuple[int, int]] = []
    depth, at = start - line_start, below.end()
    for _ in range(_MAX_LINES):
        end = text.find("\n", at, at + _MAX_LINE)
        if end < 0:
            end = min(len(text), at + _MAX_LINE)
        line = text[at:end].rstrip()
        value = line.lstrip()
        indent = len(line) - len(value)
        is_item = value.startswith("- ")
        if not value or indent < depth or (indent == depth and not is_item):
            break
        if is_item:
            indent, value = indent + 2, value[2:]
        is_scalar = below["block"] or value[0] in "\"'" or (not set(value) & set(" \t{}[]") and value[-1] != ":")
        if is_scalar and _is_secret(secrecy, value.strip("\"'"), bool(below["block"]), begins_item=True):
            found.append((at + indent, at + indent + len(value)))
        if not (is_item or below["block"]) or end >= len(text):
            break
        at = end + 1
    return found


def _secrecy_here(name: str, text: str, start: int) -> Secrecy:
    """Judge a name in a text, where "API key" is written as two words and a URL may be signed."""
    if name in ("key", "Key", "KEY") and (before := re.search(_WORD_BEFORE, text[max(0, start - 20) : start])):
        return secrecy_of(f"{before[1]}_key")
    if name.lower().endswith(("sig", "signature")) and text[start - 1 : start] in ("?", "&"):
        return Secrecy.SURE
    return secrecy_of(name)


def _is_secret(secrecy: Secrecy, value: str, bound: bool, begins_item: bool) -> bool:
    """Judge a value in a text; a name and a value joined only by a colon may be prose."""
    if bound:
        return hides(secrecy, value)
    if secrecy is Secrecy.SURE:
        return (begins_item or not value.isalpha()) and hides(secrecy, value)
    return is_random(value) or (secrecy is Secrecy.AUTH and re.fullmatch(_WITH_SCHEME, value) is not None)


def _begins_item(text: str, start: int) -> bool:
    before = text[max(0, start - 40) : start].rstrip(" \t")
    return not before or before[-1] in "\n\"'`{([,-*>|"


class SafeKeys(set[str]):
    """Keys already checked and known to hold no secret, so that `Run.log` need not check them again."""

    def checked(self, key: str) -> str:
        """Return a key without secrets, and remember it if it has none."""
        if key in self:
            return key
        if len(self) >= _MAX_KEYS:
            self.clear()
        checked = redact_text(key)
        if checked == key:
            self.add(key)
        return checked
