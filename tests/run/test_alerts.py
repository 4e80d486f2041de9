"""Alerts: in the journal, by the webhook, and not too many of them."""

import enum
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import runcast
from runcast.run.alerts.titles import Pauses


class Hook(http.server.HTTPServer):
    """A webhook on loopback, which keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.told: list[dict[str, Any]] = []
        self.arrived = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/services/SECRET"


class Handler(http.server.BaseHTTPRequestHandler):
    """The answers of the webhook."""

    server: Hook

    def do_POST(self) -> None:
        """Keep a message."""
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
        self.server.arrived.set()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """Serve a webhook, and name it in the environment."""
    with Hook() as server:
        monkeypatch.setenv("RUNCAST_WEBHOOK", server.url)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def alerts_of(run: runcast.Run) -> list[tuple[int, str, str]]:
    """Read the steps, captions and texts of the alerts in the journal."""
    lines = map(json.loads, (run.dir / "journal.jsonl").read_text().splitlines())
    media = [line for line in lines if line["type"] == "media" and line["key"] == "alerts"]
    return [(line["step"], line["caption"], (run.dir / line["path"]).read_text()) for line in media]


def others_of(run: runcast.Run, kind: str) -> list[dict[str, Any]]:
    """Read the records of a kind in the journal."""
    lines = map(json.loads, (run.dir / "journal.jsonl").read_text().splitlines())
    return [line for line in lines if line["type"] == kind]


class Level(enum.Enum):
    """Levels as other SDKs have them."""

    ERROR = "ERROR"


def test_an_alert_is_a_text_and_a_tag_without_secrets(start: Callable[..., runcast.Run]) -> None:
    """It has a level and a title of one line, at the step of the last call of `log`; a text is not needed."""
    run = start()
    run.log({"loss": 1.0}, step=7)

    run.alert("NaN\nloss", "password=hunter2\nin layer 3", level="warning")
    run.alert("api_key=a1b2c3d4", level=Level.ERROR)  # type: ignore[arg-type]
    run.alert("done")
    run.finish()

    assert alerts_of(run) == [
        (7, "warn: NaN loss", "warn: NaN loss\n\npassword=[redacted]\nin layer 3"),
        (7, "error: api_key=[redacted]", "error: api_key=[redacted]"),
        (7, "info: done", "info: done"),
    ]
    assert [record["tags"] for record in others_of(run, "tags")] == [["alert-warn"], ["alert-error"], ["alert-info"]]


def test_one_of_a_title_is_sent_a_minute() -> None:
    """It is said how many were held back; another title is another kind."""
    pauses = Pauses()
    calls = [
        ("stalled", 5.0),
        ("stalled", 5.5),
        ("stalled", 64.9),
        ("diverged", 64.9),
        ("stalled", 65.0),
        ("stalled", 125.0),
    ]

    assert [pauses.note(title, now) for title, now in calls] == [0, None, None, 0, 2, 0]


def test_what_comes_too_soon_is_held_back(start: Callable[..., runcast.Run]) -> None:
    """Neither a record nor a tag is written for it."""
    run = start()
    for number in range(3):
        run.alert("stalled", str(number))
    run.finish()

    assert [text for _, _, text in alerts_of(run)] == ["info: stalled\n\n0"]
    assert len(others_of(run, "tags")) == 1


class Odd:
    """A title that raises."""

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no text")


def test_an_alert_never_raises(start: Callable[..., runcast.Run]) -> None:
    """What cannot be read is counted, a level that is none is said, and a finished run takes no more."""
    run = start()

    run.alert(Odd())  # type: ignore[arg-type]
    run.alert("x\udce9", 5, level="fatal")  # type: ignore[arg-type]
    run.finish()
    run.alert("late")

    reasons = [record["reason"] for record in others_of(run, "dropped")]
    assert reasons[:2] == [
        "cannot be read (RuntimeError: no text)",
        "is 'fatal'; 'info' is used. Use info, warn, warning, error",
    ]
    assert [(step, text.partition("\n\n")[2]) for step, _, text in alerts_of(run)] == [(0, "5")]


def test_a_webhook_is_told(start: Callable[..., runcast.Run], hook: Hook) -> None:
    """It gets what the trackers get, with the run's name; those of other ranks are not sent."""
    run = start(name="first")
    run.alert("NaN loss", "token=hunter2hunter2", level="error")
    assert hook.arrived.wait(30)
    run.finish()

    assert hook.told == [
        {
            "text": "first: error: NaN loss\n\ntoken=[redacted]",
            "status": "alert",
            "level": "error",
            "title": "NaN loss",
            "name": "first",
            "step": 0,
        }
    ]


def test_other_ranks_send_none(start: Callable[..., runcast.Run], hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message for a job, whether or not they log their metrics."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = set(threading.enumerate())

    for per_rank in (False, True):
        run = start(per_rank=per_rank)
        run.alert("NaN loss")
        run.finish()

    assert set(threading.enumerate()) == before
    assert hook.told == []
