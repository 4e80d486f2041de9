"""Deciding is silent and quick: no SDK is imported, no socket opened, no question asked, nothing written."""

import json
import subprocess
import sys
from pathlib import Path

from runcast.autodetect.installed import is_older, normalise

WATCH = """
import json, sys, time
events = []
def hook(event, arguments):
    known = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.mkdir", "builtins.input")
    if event.startswith("socket.") or event in known:
        events.append(event)
    elif event == "open" and arguments[1] is not None and any(mode in str(arguments[1]) for mode in "wax+"):
        events.append(f"write {arguments[0]}")
sys.addaudithook(hook)
from runcast.autodetect import select, survey
began = time.process_time()  # of this process alone, however busy the others are
first = select("all")
seconds = time.process_time() - began
survey()
print(json.dumps({"events": events, "chosen": list(first.chosen), "seconds": seconds, "modules": sorted(sys.modules)}))
"""
SDKS = {
    "wandb",
    "mlflow",
    "comet_ml",
    "clearml",
    "dvclive",
    "codecarbon",
    "tensorboard",
    "torch",
    "numpy",
    "importlib.metadata",
}


def test_deciding_opens_nothing_and_imports_no_sdk(tmp_path: Path) -> None:
    """With all seven installed, "all" is decided without a socket, process, prompt, written file or imported SDK."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    )

    told = json.loads(done.stdout)
    assert told["events"] == []
    assert len(told["chosen"]) == 7
    assert not SDKS & set(told["modules"])
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_deciding_takes_milliseconds(tmp_path: Path) -> None:
    """What is installed is found in under 10 ms; the limit here is wide, as tests share their caches."""
    fastest = min(
        json.loads(subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=True).stdout)[
            "seconds"
        ]
        for _ in range(3)
    )

    assert fastest < 0.05


def test_versions_are_compared_as_numbers() -> None:
    """0.9 is older than 0.22, a release is not older than itself, and a suffix does not matter."""
    assert is_older("0.9.7", "0.22")
    assert not is_older("0.22", "0.22")
    assert not is_older("0.22.0rc1", "0.22")
    assert not is_older("3.17.2", "2.14")
    assert is_older("2.13.99", "2.14")


def test_names_of_distributions_are_compared_as_pip_does() -> None:
    """Case, dots, dashes and underscores do not tell distributions apart."""
    assert normalise("Comet__ML") == normalise("comet.ml") == "comet-ml"
