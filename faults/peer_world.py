"""What a server does to transformers' Trainer with its own callback for MLflow: the same server and the same proxy as in `world.py`.

When the training is over, or has been ended, there is nothing to sync: what the server's store has then is all there will be.
"""

import contextlib
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import scene
from faults.cell import Cell, Trial
from faults.peer_training import PART, baseline, end_all, harm, judge, zygote
from faults.servers import MlflowServer, Proxy

HALF, LATER = 20, 30  # of 40 steps


class Laboratory:
    """A server, its proxy, and a training that stops at given points."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.server = folder, MlflowServer(folder)
        self.proxy = Proxy(self.server.url)
        self.trained: dict[str, Any] | None = None
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        """Start the server and the proxy."""
        self.server.start()
        self.proxy.open()

    def stop(self) -> None:
        """Stop both."""
        self.proxy.close()
        self.server.stop()

    def train(self, *stops: int) -> None:
        """Start a training that stops after these steps."""
        plan = {"stops": stops, "environment": {"MLFLOW_TRACKING_URI": self.proxy.url}}
        self._thread = threading.Thread(target=self._train, args=(plan,))
        self._thread.start()

    def _train(self, plan: dict[str, Any]) -> None:
        self.trained = zygote("mlflow").train(self.folder, plan)

    def reach(self, step: int) -> None:
        """Wait until it stops there."""
        scene.until((self.folder / f"at-{step}").exists, 90)

    def go(self, step: int) -> None:
        """Let it continue."""
        (self.folder / f"go-{step}").touch()

    def end(self) -> None:
        """Wait for its end."""
        assert self._thread is not None
        self._thread.join()


def trials() -> list[Trial]:
    """List them."""
    return [
        _trial("the server is down", "at the start", down_at_the_start),
        _trial("the server dies and comes back", "in the middle", dies_and_comes_back),
        _trial("the server answers 500", "in the middle", functools.partial(has_a_mood, "500")),
        _trial("the server never answers", "in the middle", functools.partial(has_a_mood, "hole")),
    ]


def _trial(fault: str, moment: str, play: Callable[[Laboratory], None]) -> Trial:
    def run(folder: Path) -> Cell:
        base = baseline(folder.parent)
        laboratory = Laboratory(folder)
        try:
            play(laboratory)
            laboratory.end()
            assert laboratory.trained is not None
            laboratory.stop()
            return judge(trial, "mlflow", folder, laboratory.trained, harm(laboratory.trained, base))
        finally:
            with contextlib.suppress(OSError):
                laboratory.stop()
            end_all(folder, laboratory.trained)

    trial = Trial(part=PART, fault=fault, moment=moment, tracker="mlflow online", fast=False, run=run)
    return trial


def down_at_the_start(laboratory: Laboratory) -> None:
    """Nobody listens where the server should be."""
    laboratory.train()


def dies_and_comes_back(laboratory: Laboratory) -> None:
    """The server dies, and comes back while the training still runs."""
    laboratory.serve()
    laboratory.train(HALF, LATER)
    laboratory.reach(HALF)
    laboratory.stop()
    laboratory.go(HALF)
    laboratory.reach(LATER)
    laboratory.serve()
    laboratory.go(LATER)


def has_a_mood(mood: str, laboratory: Laboratory) -> None:
    """The server has a mood from the middle on, until the training is over."""
    laboratory.serve()
    laboratory.train(HALF)
    laboratory.reach(HALF)
    laboratory.proxy.set(mood)
    laboratory.go(HALF)
