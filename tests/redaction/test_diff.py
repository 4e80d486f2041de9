"""Secrets in diffs."""

from runcast.redaction.diff import redact_diff
from tests.properties.corpus import SHAPED, shapes


def hunk(file: str, *lines: str) -> str:
    """Write a diff of one hunk."""
    old, new = sum(line[:1] != "+" for line in lines), sum(line[:1] != "-" for line in lines)
    return "\n".join([f"diff --git a/{file} b/{file}", f"@@ -1,{old} +1,{new} @@", *lines, ""])


def lines(diff: str) -> list[str]:
    """List the lines of the hunk."""
    return redact_diff(diff).split("\n")[2:-1]


def test_a_key_of_a_known_shape_is_removed_wherever_it_is() -> None:
    """In source, in settings, and in what was removed; a private key loses all of its lines."""
    for secret in SHAPED.values():
        for file in ("train.py", "notes.md"):
            marked = [f"{mark}{line}" for mark in "-+ " for line in f"x = '{secret}'".split("\n")]

            shown = redact_diff(hunk(file, *marked))

            assert [part for part in secret.split("\n") if part in shown] == []


def test_source_loses_only_literals() -> None:
    """A diff of Python's source can still be read."""
    found = lines(
        hunk(
            "train.py",
            " token = tokenizer(text)",
            '-password = "hunter2"',
            "+password = getpass()",
            "+# password: hunter22",
        )
    )

    assert found == [
        " token = tokenizer(text)",
        '-password = "[redacted]"',
        "+password = getpass()",
        "+# password: [redacted]",
    ]


def test_settings_lose_the_values_of_telling_names_in_each_form() -> None:
    """Also in a list below its name, and on a line that looks like a header."""
    found = lines(hunk("settings.yaml", " user: me", "-password: hunter2", "+api_keys:", "+  - a1b2c3d4", "+lr: 0.1"))
    removed = lines(hunk("run.sh", "--- password=hunter2", "+++ password=hunter2"))

    assert found == [" user: me", "-password: [redacted]", "+api_keys:", "+  - [redacted]", "+lr: 0.1"]
    assert removed == ["--- password=[redacted]", "+++ password=[redacted]"]


def test_a_file_of_secrets_loses_every_line() -> None:
    """Its name tells, whatever it holds."""
    for file in (".env", "conf/.env.local", "my.pem", "token.txt", "credentials", ".netrc", "id_ed25519"):
        assert lines(hunk(file, " a", "-b", "+c")) == [" [redacted]", "-[redacted]", "+[redacted]"]
    assert lines(hunk("tokenizer.json", "+c")) == ["+c"]


def test_a_part_of_a_private_key_is_removed_without_its_first_line() -> None:
    """Context may begin in the middle of a key, and a notebook's pictures are of no use in a diff."""
    inside = shapes("inside")["private key"].split("\n")[1]

    assert lines(hunk("deploy.yaml", f" {inside}", "+replicas: 2")) == [" [redacted]", "+replicas: 2"]


def test_line_ends_stay() -> None:
    """Those of Windows, too, and separators that are no line ends."""
    diff = hunk("a.txt", " a\r", "-b\x0c\u2028c\r", "+d\r") + "\\ No newline at end of file\n"

    assert redact_diff(diff) == diff
