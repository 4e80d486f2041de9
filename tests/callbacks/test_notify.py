"""A webhook hears how a training ended, and can do it no harm."""

import http.server
import json
import subprocess
import sys
import threading

import pytest

from runcast.callbacks.notify import NotifyCallback
from runcast.callbacks.stopping import EarlyStoppingCallback


class Hook(http.server.ThreadingHTTPServer):
    """A webhook on loopback: keeps what it is told; may answer with an error, or not before it is let go."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.told, self.status, self.arrived, self.go_on = [], 200, threading.Event(), threading.Event()
        self.go_on.set()
        self.url = f"http://127.0.0.1:{self.server_port}/services/SECRET"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.arrived.set()
        self.server.go_on.wait(30)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def hook():
    """Serve a webhook."""
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def train(training, steps=100, **logs):
    """Make some steps of a hundred, and log the last one."""
    training.event("on_train_begin")
    training.state.global_step = steps - 1
    training.log(**logs)


def told(hook):
    """Return the one message that came."""
    assert hook.arrived.wait(120)
    (message,) = hook.told
    return message


def test_the_end_is_told(stage, hook):
    """With a text for people and fields for programs; a value that JSON does not have is null."""
    training = stage(NotifyCallback(hook.url, name="digits"))
    train(training, loss=0.25, grad_norm=float("nan"))

    training.event("on_train_end")

    assert told(hook) == {
        "text": "digits: finished at step 100 of 100",
        "status": "finished",
        "name": "digits",
        "step": 100,
        "epoch": 0.0,
        "metrics": {"loss": 0.25, "grad_norm": None},
        "reason": None,
        "error": None,
    }


def test_an_early_stop_is_told_with_its_reason(stage, hook):
    """The reason is that of EarlyStoppingCallback."""
    training = stage(EarlyStoppingCallback(1), NotifyCallback(hook.url, name="digits"))
    training.event("on_train_begin")
    for loss in (0.5, 0.75):
        training.evaluate(eval_loss=loss)

    training.event("on_train_end")

    assert told(hook)["status"] == "stopped early"
    assert told(hook)["text"] == (
        "digits: stopped early at step 2 of 100: eval_loss has not improved on 0.5 in 1 evaluations"
    )


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ValueError("out of luck"), "failed", "ValueError: out of luck"),
        (ValueError("api_key=hf_abcdefghijklmnopqrstuvwxyz0123456789"), "failed", "ValueError: api_key=[redacted]"),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_a_failure_is_told_once_and_without_secrets(stage, hook, error, status, text):
    """With the exception, unless a person or a signal ended it."""
    training = stage(NotifyCallback(hook.url))
    train(training, steps=3, loss=1.0)

    training.event("on_exception", exception=error)
    training.event("on_train_end")

    assert (told(hook)["status"], told(hook)["error"]) == (status, text)


def test_the_training_does_not_wait_for_it(stage, hook):
    """The webhook is still silent when the training is already over."""
    hook.go_on.clear()
    training = stage(NotifyCallback(hook.url))
    train(training, loss=1.0)

    training.event("on_train_end")
    training.event("teardown")

    assert not hook.go_on.is_set()
    assert told(hook)["status"] == "finished"


@pytest.mark.parametrize("fault", ["refuses", "is gone", "hangs", "is no address"])
def test_a_webhook_that_fails_costs_a_line(stage, hook, caplog, fault):
    """An error, nobody there, no answer in time, nonsense: a warning without the address, which is a secret."""
    url = {"is gone": "http://127.0.0.1:9/services/SECRET", "is no address": "SECRET"}.get(fault, hook.url)
    if fault == "hangs":
        hook.go_on.clear()
    hook.status = 500
    before = set(threading.enumerate())
    training = stage(NotifyCallback(url, timeout_s=0.2))
    train(training, loss=1.0)

    training.event("on_train_end")
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("Thread") and "(post)" in thread.name:
            thread.join(120)

    assert training.handler.failures == 0
    assert "The webhook was not notified that the training finished" in caplog.text
    assert "SECRET" not in caplog.text


def test_only_the_first_process_tells(stage, hook):
    """One message for a job."""
    training = stage(NotifyCallback(hook.url))
    training.state.is_world_process_zero = False
    train(training, loss=1.0)

    training.event("on_train_end")

    assert not hook.told


def test_without_a_webhook_nothing_happens(stage, monkeypatch, hook):
    """The variable RUNCAST_WEBHOOK is the default."""
    training = stage(NotifyCallback())
    train(training, loss=1.0)
    training.event("on_train_end")
    assert not hook.told

    monkeypatch.setenv("RUNCAST_WEBHOOK", hook.url)
    training = stage(NotifyCallback())
    train(training, loss=1.0)
    training.event("on_train_end")
    assert told(hook)["status"] == "finished"


PROGRAM = """
import sys
from types import SimpleNamespace
from runcast.callbacks.notify import NotifyCallback
from runcast.core.events import TrainerState

class Foreign(TrainerState): pass

callback = NotifyCallback(sys.argv[1])
state = Foreign(global_step=3, max_steps=9)
args = SimpleNamespace(output_dir="out", run_name=None)
callback.on_train_begin(args, state, None)
if sys.argv[2] == "fail":
    raise ValueError("out of luck")
callback.on_train_end(args, state, None)
"""


@pytest.mark.parametrize(("ending", "status"), [("fail", "failed"), ("finish", "stopped early")])
def test_a_program_that_ends_tells_before_it_is_gone(hook, ending, status):
    """Also under transformers, where no event says that a training failed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, hook.url, ending], capture_output=True, text=True, check=False
    )

    assert done.returncode == (1 if ending == "fail" else 0), done.stderr
    assert told(hook)["status"] == status
    assert told(hook)["error"] == ("ValueError: out of luck" if ending == "fail" else None)
