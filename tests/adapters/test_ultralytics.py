"""YOLO models, reported to every tracker once, by us and not by Ultralytics as well."""

import sys
from pathlib import Path

import pytest

from tests.adapters.kit import EXAMPLES, ROOT, assert_everywhere_once, only_run_in, run_well, runs_in

LAUNCHER = ("-m", "torchvision_on_cpu")
SCENARIOS = """
import os
import sys

for name in ("PYTEST_CURRENT_TEST", "GITHUB_ACTIONS"):  # with these, Ultralytics would switch its integrations off itself
    os.environ.pop(name, None)

import json
from pathlib import Path

import cloudpickle
import numpy as np
from ultralytics import YOLO, settings

from examples.ultralytics_yolo import draw
from runcast.adapters.ultralytics import Report, attach

settings.update({"tensorboard": True, "dvc": True, "wandb": False, "comet": False, "clearml": False, "mlflow": False})
SWITCHES = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
before = [json.loads(settings.file.read_text())[name] for name in SWITCHES]
data = str(draw(Path("squares").resolve()))
COMMON = dict(data=data, imgsz=64, project=str(Path("yolo").resolve()), plots=False, verbose=False)
TRAIN = dict(batch=4, nbs=8, amp=False, workers=0, device="cpu", warmup_epochs=0, **COMMON)

# a training, and what comes after it
model = YOLO("yolo11n.yaml")
report = attach(model, "none", log_model="all")
model.train(epochs=2, name="first", **TRAIN)
own = [f for functions in model.trainer.callbacks.values() for f in functions if getattr(f, "__module__", "").startswith("ultralytics.utils.callbacks.")]
print("own", sorted({f.__module__.rsplit(".")[-1] for f in own}), "ultralytics.utils.callbacks.tensorboard" in sys.modules)
model.val(name="val", **COMMON)
model.predict(np.zeros((64, 64, 3), np.uint8), verbose=False)
model.export(format="torchscript", imgsz=64)
with report:
    model.predict(np.zeros((64, 64, 3), np.uint8), verbose=False)

# a copy of it in the process of another training, which this one then goes on with
copy = cloudpickle.loads(cloudpickle.dumps(model.callbacks))["teardown"][-1].__self__
print("copy", type(copy) is Report, copy.run, copy._model)
later = attach(model, "none")
model.trainer.ddp = True
model.val(name="val", **COMMON)
print("joined", later.run.id == report.run.id)
os.environ |= {"RANK": "1", "WORLD_SIZE": "2"}
other = attach(model, "none")
other.on_pretrain_routine_end(model.trainer)
other.on_train_epoch_end(model.trainer)
other.teardown(model.trainer)
print("rank one", other.run)
del os.environ["RANK"], os.environ["WORLD_SIZE"]

# an interrupt, and the training that is resumed after it
def interrupt(trainer):
    if trainer.epoch == 1:
        raise KeyboardInterrupt

model = YOLO("yolo11n.yaml")
attach(model, "none")
model.add_callback("on_train_epoch_start", interrupt)
try:
    model.train(epochs=2, name="second", val=False, **TRAIN)
except KeyboardInterrupt:
    pass
model = YOLO(str(Path("yolo/second/weights/last.pt")))
attach(model, "none", log_model=None)
model.train(resume=True)

# names that nobody gave leave the trackers' variables their say
os.environ["MLFLOW_RUN"] = "theirs"
from types import SimpleNamespace
from runcast.adapters.ultralytics import _names
given = [_names(SimpleNamespace(project=None, name="train-2")), os.environ.pop("MLFLOW_RUN")]
print("names", given, _names(SimpleNamespace(project=None, name="train-2")), _names(SimpleNamespace(project="/a/b", name="mine")))

print("settings", [json.loads(settings.file.read_text())[name] for name in SWITCHES] == before, before.count(True))
print("left", sorted(path.name for path in Path().iterdir()), [str(path) for path in Path("yolo").rglob("events.out*")])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Say where torchvision is, and that nothing is to be downloaded."""
    path = [str(ROOT), str(Path(__file__).parent), str(Path(sys.prefix) / "vision")]
    config = tmp_path_factory.mktemp("config")
    return {"PYTHONPATH": ":".join(path), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_CONFIG_DIR": str(config)}


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory, environment):
    """Run all scenarios in one process; return their runs, the oldest first, and what was printed."""
    folder = tmp_path_factory.mktemp("yolo")
    printed = run_well(SCENARIOS, folder, launcher=LAUNCHER, environment=environment)
    return runs_in(folder), printed.splitlines()


def test_each_epoch_is_logged_once_at_its_optimizer_step(scenarios):
    """Under the names of Ultralytics; the metrics of the best weights, which come once more, are the summary."""
    told = scenarios[0][0]

    epochs = {"train/box_loss", "train/epoch", "lr/pg0", "metrics/mAP50(B)", "val/cls_loss"}
    assert {key: told.steps(key) for key in epochs} == {key: [1, 3] for key in epochs}
    assert "best/mAP50(B)" in told.summary
    assert {"epochs": 2, "task": "detect", "network/class": "DetectionModel"}.items() <= told.params.items()
    assert told.name == "first"


def test_weights_a_validation_and_an_export_go_to_the_same_run(scenarios):
    """And a prediction, when the run is held open for it."""
    told = scenarios[0][0]

    assert told.artifacts == [("model-best", "model"), ("model-last", "model"), ("best.torchscript", "model")]
    assert told.steps("eval/mAP50(B)") == [3, 0]
    assert told.steps("predict/images") == []
    assert told.endings == ["finished"] * 4


def test_nothing_is_reported_twice_and_the_settings_stay(scenarios):
    """The integrations that the user's settings switch on are off for a model that reports here."""
    printed = scenarios[1]

    assert "own ['base', 'platform'] True" in printed
    assert "settings True 3" in printed
    assert "left ['runs', 'script.py', 'squares', 'yolo'] []" in printed


def test_only_names_that_the_user_gave_are_given(scenarios):
    """A name that Ultralytics makes up, such as train-2, would beat WANDB_NAME and its like."""
    assert "names [{'name': 'theirs'}, 'theirs'] {} {'project': 'b', 'name': 'mine'}" in scenarios[1]


def test_a_distributed_training_reports_from_its_first_process(scenarios):
    """The copy there opens a run of its own, other ranks none; this process goes on with that run afterwards."""
    assert {"copy True None None", "joined True", "rank one None"} <= set(scenarios[1])


def test_an_interrupted_training_is_killed_and_goes_on_with_its_run(scenarios):
    """When it is resumed; an epoch that was not validated has no metrics."""
    told = scenarios[0][-1]

    assert len(scenarios[0]) == 2
    assert told.endings == ["killed", "finished"]
    assert told.steps("train/box_loss") == [1, 3]
    assert told.steps("metrics/mAP50(B)") == [3]


@pytest.mark.slow
def test_the_example_runs(tmp_path, environment):
    """As its first lines say, with what it promises and the plots, once in the tracker."""
    arguments = ("--epochs", "1", "--report_to", "tensorboard")
    printed = run_well(
        EXAMPLES / "ultralytics_yolo.py", tmp_path, *arguments, launcher=LAUNCHER, environment=environment
    )

    told = only_run_in(tmp_path)
    assert "'eval/mAP50': 0." in printed
    assert {("plots/labels", "image", 3), ("plots/results", "image", 3), ("plots/val_batch0_pred", "image", 3)} <= set(
        told.media
    )
    assert told.endings == ["finished"]
    assert_everywhere_once(told, ["tensorboard"])
