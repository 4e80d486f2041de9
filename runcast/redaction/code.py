"""Secrets in commands and in source code: values of options, and literals in the lines of a traceback.

In source code, an assignment to a telling name proves nothing by itself; only a literal on its right can be a secret.
"""

import re
from collections.abc import Sequence
from typing import Any

from runcast.redaction.names import Secrecy, hides, secrecy_of

REDACTED = "[redacted]"

# A frame of a traceback; the lines indented further below it are source code. Exception groups have a longer margin.
FRAMES = r'(?m)^([ |+]{0,200})File "[^"\n]*", line [0-9]+'

_LOGS_IN = re.compile(r"\b(?:curl|wget|sshpass|mysql\w*|mariadb|(?:docker|podman|oc|az|registry)[ ]login)\b")
_AFTER_U = r"""(?<=\s)(-u|-U|--user|--proxy-user)([ \t=]{0,4}["']?[^\s:"'/]{1,256}:)([^\s"']{1,256})"""
_AFTER_P = r"""(?<=\s)(-p[ \t]{0,4}["']?)(?![0-9:]{1,12}(?:\s|$))([^\s"'-][^\s"']{0,256})"""
_ASKS_USER = ("curl", "wget")
_BEFORE = 300  # characters before an option that are searched for its program

_ASSIGNED = r"""(?x)(?<![\w.-])(?P<name>\w[\w-]{0,127})(?P<quote>["'])?\]?[ \t]{0,8}
    (?P<sign>:[ \t]{0,8}[\w.\[\]|"']{1,60}[ \t]{0,8}=|[:=]=?|,)[ \t]{0,8}
    (?P<prefix>[rRbBuUfF]{0,2})(?P<mark>\"{3}|'{3}|["'])(?P<value>[^\n]*?)(?:(?P=mark)|$)"""
_FILLED_IN = r"\{[^{}]*\}"


def redact_logins(text: str) -> str:
    """Remove the password from `curl -u user:password`, `sshpass -p password` and the like."""
    if not _LOGS_IN.search(text):
        return text

    def program(match: re.Match[str]) -> str | None:
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        found = _LOGS_IN.findall(re.split(r"[\n;|&]", before)[-1])
        return found[-1] if found else None

    def user(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}{REDACTED}" if program(match) in _ASKS_USER else match[0]

    def password(match: re.Match[str]) -> str:
        return match[1] + REDACTED if program(match) not in (*_ASKS_USER, None) else match[0]

    if "-u" in text or "-U" in text:
        text = re.sub(_AFTER_U, user, text)
    return re.sub(_AFTER_P, password, text) if "-p" in text else text


def takes_login(arguments: Sequence[Any]) -> bool:
    """Return whether the next argument of a command line is a login: `user:password`, or a password after `-p`."""
    words = [argument.rpartition("/")[2] for argument in arguments[-20:] if isinstance(argument, str)]
    found = _LOGS_IN.findall(" ".join(words)) if words else []
    if not found:
        return False
    return words[-1] in ("-u", "-U", "--user", "--proxy-user") if found[-1] in _ASKS_USER else words[-1] == "-p"


def without_password(login: str) -> str:
    """Remove the password from `user:password`."""
    user, colon, password = login.partition(":")
    return f"{user}:{REDACTED}" if colon and password else login


def is_source(line: str, margin: str | None) -> bool:
    """Return whether a line is source code shown below a traceback frame with this margin."""
    return margin is not None and line.startswith(f"{margin}  ")


def redact_source(line: str) -> str:
    """Remove the literals that follow a telling name in a line of source code; expressions stay."""

    def replace(match: re.Match[str]) -> str:
        value, secrecy = match["value"], secrecy_of(match["name"])
        if "f" in match["prefix"].lower() and "{" in value:
            value = re.sub(_FILLED_IN, "", value)
            if not any(map(str.isdigit, value)):
                return match[0]
        if match["sign"] == "," and (match["quote"] is None or value.isalpha()):
            return match[0]  # the next argument, or the words of a list
        if secrecy is Secrecy.NONE or not any(map(str.isalnum, value)) or not hides(secrecy, value):
            return match[0]
        start, end = match.start("value") - match.start(), match.end("value") - match.start()
        return match[0][:start] + REDACTED + match[0][end:]

    return re.sub(_ASSIGNED, replace, line)
