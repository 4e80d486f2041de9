"""Secrets that need no name: keys of a known shape, passwords in URLs, and those after a program's option."""

import re

from runcast.redaction.code import REDACTED, redact_logins

# Rarely used patterns stay strings: `re` compiles and caches each on first use, which keeps start-up short.
_PRIVATE_KEY = (
    r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_IN_URL = (
    r"""(://[^\s/?#:@"'<>\[]{0,256}:)(?!\d{1,5}[/?#])[^\s"'<>]{1,256}@(?!sha256:)|(https?://)[^\s/?#:@"'<>]{16,}@"""
)
_WEBHOOK = r"(hooks\.slack\.com/\w+/|discord(?:app)?\.com/api/webhooks/)[\w/-]+"

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
MARKS = tuple(mark for marks, _ in _SHAPES for mark in marks.split())
# A key starts a word, also after the %3D of a URL and the \n of a text inside a text.
_START = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_SHAPED = (
    _START + "(?:" + "|".join(f"(?:{'|'.join(map(re.escape, marks.split()))}){rest}" for marks, rest in _SHAPES) + ")"
)
_JWT = _START + r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*"
_TELEGRAM = _START + r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"


def redact_shapes(text: str) -> str:
    """Remove them from a text."""
    if "PRIVATE KEY" in text:
        text = re.sub(_PRIVATE_KEY, REDACTED, text)
    if "://" in text:
        text = re.sub(_IN_URL, lambda match: f"{match[1] or match[2]}{REDACTED}@", text)
    if "hooks." in text or "webhooks/" in text:
        text = re.sub(_WEBHOOK, rf"\1{REDACTED}", text)
    if "eyJ" in text:
        text = re.sub(_JWT, lambda match: REDACTED if match[0].count(".") > 1 else match[0], text)
    if any(mark in text for mark in MARKS):
        text = re.sub(_SHAPED, REDACTED, text)
    if ":AA" in text:
        text = re.sub(_TELEGRAM, REDACTED, text)
    return redact_logins(text)
