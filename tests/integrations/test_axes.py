"""The x-axes of metrics, where a service has its own and where it has none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import runcast
from runcast.history.views.page import axis_of, on_axis


def test_wandb_shows_a_metric_over_its_axis(tmp_path: Path) -> None:
    """Each metric that a pattern names is defined with that axis, every other one with the step."""
    pytest.importorskip("wandb")
    axes = {"rollout/*": "rollout/step", "val/*": "epoch"}
    run = runcast.init("axes", report_to="wandb", dir=tmp_path / "runs", offline=True, axes=axes)
    for step in range(3):
        run.log({"loss": 1 / (step + 1), "epoch": step / 2, "val/loss": 2.0, "rollout/step": 10 * step}, step=step)
        run.log({"rollout/reward": 1.0, "rollout/step": 10 * step}, step=step)
    assert run.finish()

    (file,) = (run.dir / "trackers" / "wandb" / "wandb").glob("*run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in output.splitlines()]
    defined = {
        one["metric"].get("name"): one["metric"].get("step_metric") for one in records if one["type"] == "metric"
    }

    assert defined["val/loss"] == "epoch"
    assert defined["rollout/reward"] == "rollout/step"
    assert "loss" not in defined or defined["loss"] == "global_step"
    assert defined.get("rollout/step") in (None, "global_step")


def test_a_page_shows_a_metric_over_its_axis() -> None:
    """Over the values that the axis has at the same steps; without any, over the steps."""
    axes = {"val/*": "epoch", "*": "time"}

    assert axis_of("val/loss", axes) == "epoch"
    assert axis_of("loss", axes) == "time"
    assert axis_of("time", axes) is None
    assert on_axis([(0, 2.0), (10, 1.0)], [(0, 0.5), (5, 0.75), (10, 1.5)]) == [(0.5, 2.0), (1.5, 1.0)]
    assert on_axis([(0, 2.0)], []) == [(0, 2.0)]


def test_axes_are_kept_when_a_run_is_resumed(tmp_path: Path) -> None:
    """They belong to the run."""
    first = runcast.init("axes", id="run-1", report_to=None, dir=tmp_path, axes={"val/*": "epoch"})
    first.finish()

    again = runcast.init("axes", id="run-1", resume="allow", report_to=None, dir=tmp_path)
    again.finish()

    assert json.loads((tmp_path / "run-1" / "run.json").read_text())["axes"] == {"val/*": "epoch"}


@pytest.mark.parametrize("axes", [["epoch"], {"val/*": 1}, "epoch"])
def test_wrong_axes_are_an_error(axes: object, tmp_path: Path) -> None:
    """The message shows what they look like."""
    with pytest.raises(runcast.OptionError, match=r'axes=\{"val/\*": "epoch"\}'):
        runcast.init("axes", report_to=None, dir=tmp_path, axes=axes)  # type: ignore[arg-type]
