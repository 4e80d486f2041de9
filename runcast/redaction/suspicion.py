"""The first look at a text, which is quick: most hold no secret, and every pattern together takes far longer.

Python finds a fixed text, or a pattern that begins with a rare character, up to a hundred times as fast as an
alternation. Each pattern of `tree.py` and `code.py` has a part here without which it cannot match.
"""

import re

from runcast.redaction.names import MAX_NAME, Secrecy, secrecy_of
from runcast.redaction.shapes import MARKS

_SEPARATED = tuple(mark for mark in MARKS if mark[-1] in "_.-")
_NEEDLES = (
    *("PRIVATE KEY", "eyJ", "hooks.slack.", "/webhooks/", "earer", 'File "', "\\" * 32),
    *(mark for mark in MARKS if mark[-1] not in "_.-"),
)
_LOGINS = ("curl", "wget", "sshpass", "mysql", "mariadb", "login")
_LOGIN_OPTIONS = ("-u", "-U", "-p", "--user", "--proxy-user")
_SHORTEST = 12  # characters: a key is longer, and anything else has a sign, a blank or a dash
_SEPARATOR = re.compile(r"[_.-](?=[A-Za-z0-9_.-]{10})")
_SIGN = re.compile("[=:]")
_NAME_BACKWARDS = re.compile(rf"""[ \t]{{0,8}}(?:["']\\*)?([\w.-]{{1,{MAX_NAME}}})""")
_REACH = MAX_NAME + 41  # with backslashes, a quote and blanks before the sign
_OF_URLS = ("sig", "signature")
_FLAG = re.compile(r"-(?<![\w.-]-)-?[A-Za-z][\w.-]*")


def may_hold_secret(text: str) -> bool:
    """Return False only if there is certainly no secret in a text."""
    if len(text) <= _SHORTEST and text.isidentifier():
        return False
    for needle in _NEEDLES:
        if needle in text:
            return True
    if ("@" in text and "://" in text) or ("login" in text and "machine" in text):  # the latter in .netrc
        return True
    return _has_mark(text) or _has_telling_name(text) or _has_telling_flag(text)


def _has_mark(text: str) -> bool:
    return any(text.endswith(_SEPARATED, 0, found.end()) for found in _SEPARATOR.finditer(text))


def _has_telling_name(text: str) -> bool:
    """Return whether a name that may tell of a secret stands before a sign; ":AA" is in a key of Telegram."""
    for sign in _SIGN.finditer(text):
        at = sign.start()
        if text.startswith(":AA", at):
            return True
        before = text[max(0, at - _REACH) : at][::-1]
        match = _NAME_BACKWARDS.match(before)
        if match is None:
            continue
        name = match[1][::-1]
        if secrecy_of(name) is not Secrecy.NONE or name.lower() == "key" or name.lower().endswith(_OF_URLS):
            return True
    return False


def _has_telling_flag(text: str) -> bool:
    for match in _FLAG.finditer(text):
        flag = match[0]
        if secrecy_of(flag) is not Secrecy.NONE:
            return True
        if flag.startswith(_LOGIN_OPTIONS) and any(program in text for program in _LOGINS):
            return True
    return False
