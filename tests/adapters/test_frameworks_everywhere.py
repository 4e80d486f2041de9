"""The examples of Keras, Ignite and Ultralytics reach every tracker; their own tests have the quick part of it."""

import sys
from pathlib import Path

import pytest

from tests.adapters.kit import EXAMPLES, ROOT, TRACKERS, assert_everywhere_once, only_run_in, run_well

VISION = {
    "PYTHONPATH": ":".join(map(str, (ROOT, ROOT / "tests" / "adapters", Path(sys.prefix) / "vision"))),
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
}


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("keras_classifier.py", {"environment": {"KERAS_BACKEND": "torch"}}),
        ("ignite_engine.py", {}),
        ("loop_by_hand.py", {}),
        ("ultralytics_yolo.py", {"environment": VISION, "launcher": ("-m", "torchvision_on_cpu")}),
    ],
    ids=lambda value: value.removesuffix(".py") if isinstance(value, str) else "",
)
def test_each_tracker_has_every_point_once(tmp_path, monkeypatch, name, options):
    """With everything else of the run, and its status, as the tracker's own reader sees it."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()

    run_well(EXAMPLES / name, tmp_path, "--epochs", "2", "--report_to", ",".join(TRACKERS), timeout_s=600, **options)

    assert_everywhere_once(only_run_in(tmp_path))
