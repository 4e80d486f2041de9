"""A training whose user leaves secrets everywhere: `python tests/properties/secret_run.py TRACKERS FOLDER ARGUMENTS…`."""

import os
import sys
import time
from pathlib import Path

import psutil

import runcast
from tests.properties.corpus import HARMLESS, LOOK_ALIKES, planted

TRACKERS, FOLDER = sys.argv[1], Path(sys.argv[2])
ALL = list(planted())
TEXTS = [each.value for each in ALL if isinstance(each.value, str)]
SHORT = [text for text in TEXTS if len(text) < 200 and "\n" not in text]


def fail() -> None:
    """Raise with secrets in the message; the lines above it are shown, too."""
    raise ValueError("\n".join(TEXTS))


def main() -> None:
    """Leave each secret in at least two places."""
    files = FOLDER / "files"
    files.mkdir()
    text = iter(SHORT * 10)
    labels = {"notes": next(text), "tags": [next(text), next(text)]}
    with runcast.init(
        next(text),
        next(text),
        config={
            "planted": {f"p{number}": each.value for number, each in enumerate(ALL)},
            "looks": LOOK_ALIKES,
            "harmless": {f"h{number}": text for number, text in enumerate(HARMLESS)},
            "environment": dict(os.environ),
        },
        report_to=TRACKERS,
        dir=FOLDER / "runs",
        group=next(text),
        tags=SHORT,
        notes="\n".join(TEXTS),
        setup={
            "wandb": {"job_type": next(text), "config": {"api_key": SHORT[0], "planted": TEXTS}, **labels},
            "mlflow": {"experiment_name": next(text), "run_name": next(text), "tags": {"password": SHORT[1]}},
            "dvclive": {"exp_message": next(text)},
            "comet_ml": {"tags": labels["tags"]},
            "clearml": {"task_name": next(text)},
        },
    ) as run:
        for step, secret in enumerate(SHORT):
            run.log({f"loss {secret}": 1.0, "loss": 0.5}, step=step)
        rows = [{"user": "bob", "password": "hunter" + secret[-12:], "note": secret} for secret in SHORT]
        run.log({"text": runcast.Text("\n".join(TEXTS), caption=next(text)), "table": runcast.Table(rows)}, step=1)
        run.log({f"sample {next(text)}": runcast.Text("a text", caption=next(text)), next(text): "no number"}, step=2)
        short = {str(number): secret for number, secret in enumerate(TEXTS) if len(secret) < 4000}  # MLflow has 8,000
        run.log_summary({"planted": short, "password": SHORT[2], next(text): 1.0})
        run.log_params({"more": TEXTS, next(text): 2})
        for secret in SHORT[:20]:
            path = files / f"{secret.replace('/', '-')[:200]}.txt"
            path.write_text("a file")
            run.log_artifact(path)
        run.log_artifact(files / "missing", name=next(text))
        run.log_artifact(path, name=next(text), type=next(text))
        commands: list[str] = []
        deadline = time.monotonic() + 30
        while sum("runcast.delivery" in command for command in commands) < len(TRACKERS.split(",")):
            assert time.monotonic() < deadline, commands
            commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
        (FOLDER / "commands.txt").write_text("\n".join(commands))
        fail()


main()
