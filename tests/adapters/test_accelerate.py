"""An Accelerator reports through RuncastTracker, as far as Accelerate's trackers go."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

import runcast
from runcast.adapters.accelerate import RuncastTracker
from runcast.run.init import init
from tests.adapters.kit import EXAMPLES, QUIET, only_run_in, run_well, runs_in
from tests.ranks import run_ranks
from tests.warm import TRANSFORMERS


@pytest.fixture
def make():
    """Return a function that makes an Accelerator with a tracker; Accelerate's own state is reset behind it."""

    def make(tracker=None, **settings):
        return Accelerator(log_with=tracker or RuncastTracker(report_to="none"), cpu=True, **settings)

    AcceleratorState._reset_state(reset_partial_state=True)
    yield make
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_loop_is_told_completely(folder, make):
    """The project and the nested config of init_trackers, metrics at the user's steps, the status."""
    accelerator = make()
    config = {"lr": 0.1, "optimizer": {"name": "sgd", "betas": (0.9, 0.99)}, "none": None}

    accelerator.init_trackers("digits", config=config)
    accelerator.log({"loss": 0.5, "accuracy": np.float32(0.5)}, step=3)
    accelerator.log({"loss": 0.25}, step=4)
    accelerator.end_training()

    told = only_run_in(folder)
    assert told.project == "digits"
    assert told.params["lr"] == 0.1
    assert told.params["optimizer/name"] == "sgd"
    assert told.points == {"loss": [(3, 0.5), (4, 0.25)], "accuracy": [(3, 0.5)]}
    assert told.endings == ["finished"]


def test_init_kwargs_are_options_of_the_run(folder, make):
    """Those of init_trackers, under the tracker's name; what the constructor was given beats them."""
    accelerator = make(RuncastTracker(report_to="none", name="mine", tags=["a"]))

    accelerator.init_trackers("digits", init_kwargs={"runcast": {"name": "theirs", "group": "g", "notes": "n"}})
    accelerator.end_training()

    told = only_run_in(folder)
    assert (told.name, told.group, told.file.notes, told.file.tags) == ("mine", "g", "n", ["a"])
    assert told.project == "digits"


def test_an_id_of_init_trackers_is_the_runs(folder, make):
    """Also where the tracker is made by its name, and again when the run is resumed."""
    for step in range(2):
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = make()
        accelerator.init_trackers("digits", init_kwargs={"runcast": {"id": "mine", "resume": "allow"}})
        accelerator.log({"loss": 1.0}, step=step)
        accelerator.end_training()
        accelerator.log({"late": 1.0}, step=step)
        accelerator.end_training()

    told = only_run_in(folder)
    assert told.path.name == "mine"
    assert (told.steps("loss"), told.steps("late"), told.endings) == ([0, 1], [0, 1], ["finished"] * 4)


def test_a_wrong_resume_of_init_trackers_is_an_error(make):
    """It is not taken for another one."""
    with pytest.raises(runcast.OptionError, match="there is no run 'gone'"):
        make().init_trackers("digits", init_kwargs={"runcast": {"id": "gone", "resume": "must"}})


def test_init_kwargs_of_a_tracker_reach_its_sdk(folder, make, caplog):
    """As a script has them that was written for Accelerate's own trackers; what ours does not take is told."""
    accelerator = make(RuncastTracker(report_to="tensorboard", delivery="later"))

    accelerator.init_trackers(
        "digits", init_kwargs={"tensorboard": {"log_dir": "boards"}, "wandb": {"entity": "team"}, "mine": {"a": 1}}
    )
    accelerator.init_trackers("digits", init_kwargs={"mlflow": {"nested_run": True}})
    accelerator.end_training()

    assert only_run_in(folder).file.trackers["tensorboard"].options == {"log_dir": "boards"}
    assert "init_kwargs['mlflow'] is not used: There is no option 'nested_run'" in caplog.text


def test_a_project_of_the_constructor_beats_that_of_init_trackers(folder, make):
    """An argument given to runcast is meant."""
    accelerator = make(RuncastTracker("mine", report_to="none"))

    accelerator.init_trackers("digits")
    accelerator.end_training()

    assert only_run_in(folder).project == "mine"


def test_the_tracker_can_be_chosen_by_name(folder, make):
    """Where Accelerate registers classes: log_with="runcast", with the options in init_kwargs."""
    from accelerate import tracking

    tracking.register_tracker_class(RuncastTracker)
    try:
        accelerator = make("runcast")
        accelerator.init_trackers("digits", init_kwargs={"runcast": {"report_to": "none", "name": "by-name"}})
        accelerator.log({"loss": 1.0}, step=0)
        accelerator.end_training()
    finally:
        tracking.LOGGER_TYPE_TO_CLASS.pop("runcast")

    told = only_run_in(folder)
    assert (told.project, told.name) == ("digits", "by-name")


def test_the_run_is_what_the_tracker_wraps(folder, make):
    """get_tracker returns the tracker, and with unwrap=True the run."""
    accelerator = make()
    accelerator.init_trackers("digits")

    run = accelerator.get_tracker("runcast", unwrap=True)

    assert isinstance(run, runcast.Run)
    assert accelerator.get_tracker("runcast").tracker is run
    accelerator.end_training()
    assert run.status == "finished"


def test_a_second_training_goes_on_with_the_run(folder, make):
    """end_training and init_trackers again, with the same tracker, make no other run."""
    tracker = RuncastTracker(report_to="none")
    accelerator = make(tracker)

    for step in range(2):
        accelerator.trackers = []
        accelerator.init_trackers("digits")
        accelerator.log({"loss": 1.0}, step=step)
        tracker.finish()

    told = only_run_in(folder)
    assert told.steps("loss") == [0, 1]
    assert told.endings == ["finished", "finished"]


def test_a_run_of_the_user_stays_open(folder, make):
    """Whoever opened it finishes it."""
    run = init(report_to="none")
    accelerator = make(RuncastTracker(run=run))

    accelerator.init_trackers("digits", config={"lr": 0.1})
    accelerator.log({"loss": 1.0}, step=0)
    accelerator.end_training()

    assert run.status is None
    run.finish()
    assert only_run_in(folder).params == {"lr": 0.1}


def test_media_and_artifacts_go_through_the_tracker(folder, make):
    """log_images with one, several or a batch; log_table from rows or a data frame; log_artifact."""
    pandas = pytest.importorskip("pandas")
    accelerator = make()
    accelerator.init_trackers("digits")
    tracker = accelerator.get_tracker("runcast")
    (folder / "model.bin").write_bytes(b"weights")

    tracker.log_images({"one": np.zeros((4, 4, 3)), "two": [np.zeros((4, 4)), torch.zeros(3, 4, 4)]}, step=1)
    tracker.log_images({"alone": [np.zeros((4, 4, 3))], "told": (np.zeros((4, 4)), "a caption")}, step=1)
    tracker.log_images({"batch": np.zeros((2, 4, 4, 3))}, step=2)
    tracker.log_table("rows", columns=["x", "y"], data=[[1, 2]], step=3)
    tracker.log_table("frame", dataframe=pandas.DataFrame({"x": [1]}), step=4)
    tracker.log_artifact(str(folder / "model.bin"))
    accelerator.end_training()

    told = only_run_in(folder)
    assert told.media == [
        ("one", "image", 1),
        ("two/0", "image", 1),
        ("two/1", "image", 1),
        ("alone", "image", 1),
        ("told", "image", 1),
        ("batch/0", "image", 2),
        ("batch/1", "image", 2),
        ("rows", "table", 3),
        ("frame", "table", 4),
    ]
    assert told.artifacts == [("model.bin", "file")]


def test_what_comes_after_the_end_goes_on_with_the_run(folder, make):
    """What is logged after end_training, and more."""
    accelerator = make()
    accelerator.init_trackers("digits")
    accelerator.log({"loss": 1.0}, step=0)
    accelerator.end_training()

    accelerator.log({"loss": 0.5}, step=1)
    accelerator.get_tracker("runcast").log_images({"late": np.zeros((4, 4))}, step=2)
    accelerator.end_training()

    told = only_run_in(folder)
    assert told.points == {"loss": [(0, 1.0), (1, 0.5)]}
    assert told.media == [("late", "image", 2)]
    assert told.endings == ["finished", "finished"]


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("beside", [[], ["tensorboard"]])
def test_a_second_init_trackers_doubles_nothing(folder, make, by_name, beside):
    """The tracker is called once for each value, whether it was given or is made by name, and it is one run."""
    from accelerate import tracking

    tracking.register_tracker_class(RuncastTracker)
    try:
        mine = "runcast" if by_name else RuncastTracker(report_to="none")
        accelerator = make([mine, *beside], project_dir=str(folder / "theirs"))
        for step in range(3):
            accelerator.init_trackers("digits", init_kwargs={"runcast": {"report_to": "none"}} if by_name else None)
            accelerator.log({"loss": 1.0}, step=step)
        accelerator.end_training()
    finally:
        tracking.LOGGER_TYPE_TO_CLASS.pop("runcast")

    assert only_run_in(folder).steps("loss") == [0, 1, 2]


def test_two_trackers_that_were_given_both_report(folder, make):
    """They are two runs on purpose."""
    accelerator = make([RuncastTracker("first", report_to="none"), RuncastTracker("second", report_to="none")])

    accelerator.init_trackers("digits")
    accelerator.log({"loss": 1.0}, step=0)
    accelerator.end_training()

    assert sorted((told.project, told.steps("loss")) for told in runs_in(folder)) == [("first", [0]), ("second", [0])]


def test_texts_figures_folders_and_bare_tables_are_kept(folder, make):
    """As other trackers of Accelerate take them."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    accelerator = make()
    accelerator.init_trackers("digits")
    tracker = accelerator.get_tracker("runcast")
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_bytes(b"0")
    figure = pyplot.figure()

    accelerator.log({"sample": "once upon a time", "loss": 0.5}, step=1)
    tracker.log_figure(figure, "plots/curve.png", step=2)
    tracker.log_table("bare", data=[["007", 1], ["b", 2]], step=3)
    tracker.log_artifacts(str(folder / "model"))
    accelerator.end_training()
    pyplot.close(figure)

    told = only_run_in(folder)
    assert told.points == {"loss": [(1, 0.5)]}
    assert told.media == [("sample", "text", 1), ("plots/curve", "image", 2), ("bare", "table", 3)]
    assert told.artifacts == [("model", "file")]
    (table,) = [record["path"] for record in told.of_type("media") if record["kind"] == "table"]
    assert (told.path / table).read_text().splitlines() == ['"0","1"', '"007",1', "b,2"]


def test_pairs_in_a_list_have_captions_and_odd_values_are_counted(folder, make):
    """What is no mapping, no picture, no table ends no training."""
    accelerator = make()
    accelerator.init_trackers("digits")
    tracker = accelerator.get_tracker("runcast")

    tracker.log_images({"pairs": [(np.zeros((4, 4)), "a"), (np.zeros((4, 4)), "b")], "none": None}, step=1)
    accelerator.log(None, step=1)
    accelerator.end_training()

    told = only_run_in(folder)
    assert [(r["key"], r["caption"]) for r in told.of_type("media")] == [("pairs/0", "a"), ("pairs/1", "b")]
    assert [r["key"] for r in told.of_type("dropped")] == ["none", "log"]


@pytest.mark.parametrize("options", [{"tag": ["a"]}, {"run_name": "mine"}])
def test_a_wrong_option_is_an_error_at_once(make, options):
    """In the constructor; in init_kwargs when the trackers are initialised."""
    with pytest.raises(runcast.OptionError, match="Did you mean"):
        RuncastTracker(report_to="none", **options)
    with pytest.raises(runcast.OptionError, match="Did you mean"):
        make().init_trackers("digits", init_kwargs={"runcast": options})


def test_a_tracker_of_accelerate_beside_it_gets_the_same(folder, make):
    """A list of trackers, ours among theirs."""
    accelerator = make([RuncastTracker(report_to="none"), "tensorboard"], project_dir=str(folder / "theirs"))

    accelerator.init_trackers("digits", config={"lr": 0.1})
    accelerator.log({"loss": 0.5}, step=1)
    accelerator.end_training()

    assert only_run_in(folder).points == {"loss": [(1, 0.5)]}
    assert list((folder / "theirs").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("off", [None, "none", [], False])
def test_off_is_off(folder, make, off):
    """A report_to that means nothing casts to nothing; the journal is kept."""
    accelerator = make(RuncastTracker(report_to=off))

    accelerator.init_trackers("digits")
    accelerator.end_training()

    assert only_run_in(folder).file.trackers == {}


def test_all_needs_no_folder(folder, make):
    """D14: theirs raises a TypeError for "all" without a project folder."""
    accelerator = make(RuncastTracker(delivery="later"))

    accelerator.init_trackers("digits")
    accelerator.end_training()

    assert {"tensorboard", "mlflow", "wandb"} <= set(only_run_in(folder).file.trackers)


def test_a_wrong_name_is_an_error_at_once():
    """A name that no tracker has is told where the tracker is made, with what was meant."""
    with pytest.raises(runcast.UnknownTrackerError, match="wandb"):
        RuncastTracker(report_to="wandbb")


def test_nothing_is_known_before_init_trackers():
    """The tracker opens no run by itself, so that a process group may still be initialised."""
    AcceleratorState._reset_state(reset_partial_state=True)

    assert RuncastTracker(report_to="none").tracker is None
    assert PartialState._shared_state == {}


LAUNCH = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")
LAUNCH = (*LAUNCH, "--mixed_precision", "no", "--dynamo_backend", "no")
SHORT = ("--report_to", "none", "--epochs", "1")


def launched(folder):
    """Run Accelerate's example by its own launcher."""
    run_well(EXAMPLES / "accelerate_loop.py", folder, *SHORT, launcher=LAUNCH)


def ranks(folder):
    """Run the example of transformers as the ranks of a job."""
    job = run_ranks([EXAMPLES / "transformers_trainer.py", *SHORT], folder, 2, modules=TRANSFORMERS, environment=QUIET)
    assert job.codes == [0, 0], job.outputs


@pytest.mark.slow
@pytest.mark.parametrize("run_two", [launched, ranks], ids=["accelerate", "transformers"])
def test_one_run_of_two_processes(folder, run_two):
    """Two processes on gloo: rank zero reports, each step once, and both end."""
    run_two(folder)

    (told,) = runs_in(folder)
    steps = told.steps("train/loss")
    assert steps == sorted(set(steps))
    assert len(steps) >= 2
    assert set(told.endings) == {"finished"}
