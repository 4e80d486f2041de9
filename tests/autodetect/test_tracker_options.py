"""Options for a tracker are checked where an adapter is made, against the SDK that is installed."""

import importlib.util
import inspect
import json
import warnings

import pytest

import runcast
from runcast.autodetect.tracker_options import check_setup
from runcast.callbacks.trackers import TrackerCallback
from tests.second_rank import EACH

WRONG = {
    "wandb": ("entty", "entity"),
    "mlflow": ("tracking_url", "tracking_uri"),
    "comet_ml": ("workspce", "workspace"),
    "clearml": ("output_url", "output_uri"),
    "dvclive": ("reprt", "report"),
    "codecarbon": ("measure_power_sec", "measure_power_secs"),
    "system": ("every", "every_s"),
    "tensorboard": ("logdir", "log_dir"),
    "swanlab": ("worspace", "workspace"),
    "trackio": ("space_ids", "space_id"),
    "dagshub": ("repos", "repo"),
    "flyte": ("checkpont", "checkpoint"),
    "aim": ("rep", "repo"),
}


@pytest.fixture
def task():
    """Be in a task of Flyte, as flytekit's local execution makes one, where flytekit is installed."""
    if importlib.util.find_spec("flytekit") is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context_manager = importlib.import_module("flytekit.core.context_manager").FlyteContextManager
    context = context_manager.current_context()
    inside = context.user_space_params.with_task_sandbox().build()
    with context_manager.with_context(
        context.with_execution_state(context.execution_state.with_params(user_space_params=inside))
    ):
        yield


@pytest.mark.parametrize("name", EACH)
@pytest.mark.usefixtures("task")
def test_a_wrong_option_of_a_tracker_is_told_with_the_one_that_was_meant(name, tmp_path, monkeypatch):
    """In each adapter, when it is made, and in `init`: no tracker of the table takes any name."""
    monkeypatch.setenv("DAGSHUB_REPO", "owner/digits")  # it has no local mode
    wrong, meant = WRONG[name]

    with pytest.raises(runcast.OptionError, match=rf"no option '{wrong}' of .*Did you mean '{meant}'\?"):
        runcast.ReportCallback("none", setup={name: {wrong: 1}})
    with pytest.raises(runcast.OptionError, match=meant):
        type("Form", (TrackerCallback,), {"tracker": name})(**{wrong: 1})
    with pytest.raises(runcast.OptionError, match=rf"no option '{wrong}' of .*Did you mean '{meant}'\?"):
        runcast.init("p", report_to="none", dir=tmp_path / "runs", setup={name: {wrong: 1}})
    assert not (tmp_path / "runs").exists()


def test_every_option_of_an_sdk_is_taken():
    """Those that the functions of the installed versions have, read without importing them."""
    import codecarbon
    import comet_ml
    import dvclive
    import wandb

    check_setup({"wandb": dict.fromkeys(inspect.signature(wandb.init).parameters)})
    check_setup({"dvclive": dict.fromkeys(list(inspect.signature(dvclive.Live.__init__).parameters)[1:])})
    check_setup({"comet": dict.fromkeys(inspect.signature(comet_ml.ExperimentConfig).parameters)})
    start = dict.fromkeys(inspect.signature(comet_ml.start).parameters)
    check_setup({"comet": {name: None for name in start if name != "experiment_config"}})
    base = codecarbon.EmissionsTracker.__mro__[1]
    check_setup({"codecarbon": dict.fromkeys(list(inspect.signature(base.__init__).parameters)[1:])})
    check_setup({"mlflow": {"tracking_uri": "x", "experiment_name": "x"}, "tensorboard": {"log_dir": "x"}})


def test_a_tracker_of_a_third_party_takes_what_it_likes():
    """Its class is not in the table."""

    class Mine(runcast.Tracker):
        name = "mine"

    runcast.ReportCallback([Mine], setup={"mine": {"anything": 1}})


def test_a_tracker_object_that_no_later_delivery_can_make_is_told(tmp_path, capsys):
    """With `delivery="later"`: the start line says that it gets nothing, and what to give instead."""

    class Mine(runcast.Tracker):
        name = "mine"

    run = runcast.init("p", report_to=[Mine()], dir=tmp_path, delivery="later")
    run.finish()

    assert (
        "without mine: it was given as an object, and delivery='later' needs a class that another process can import. "
        "Pass its class."
    ) in capsys.readouterr().err
    assert list(json.loads((run.dir / "run.json").read_text())["skipped"]) == ["mine"]
