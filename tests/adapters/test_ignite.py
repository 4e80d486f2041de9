"""Ignite's engines, reported as Ignite's own loggers report them, to every tracker."""

import pytest

from runcast.core.errors import OptionError
from tests.adapters.kit import EXAMPLES, assert_everywhere_once, only_run_in, run_well, runs_in
from tests.ranks import run_ranks
from tests.warm import IGNITE

ENGINES = """
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver, TerminateOnNan
from ignite.metrics import Accuracy

from runcast.adapters.ignite import *

torch.manual_seed(0)
data = [(torch.randn(8, 4), torch.randint(0, 2, (8,))) for _ in range(4)]


def engines():
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.CrossEntropyLoss(), output_transform=lambda x, y, p, l: l)
    return model, optimizer, trainer, create_supervised_evaluator(model, {"accuracy": Accuracy()})


def report(logger, trainer):
    logger.attach_output_handler(trainer, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda loss: {"loss": loss})
"""

SCENARIOS = (
    ENGINES
    + """
# everything that a logger can be attached for
model, optimizer, trainer, evaluator = engines()
with RuncastLogger("none", id="all", config={"lr": 0.1}) as logger:
    logger.attach_output_handler(trainer, Events.ITERATION_COMPLETED(every=3), tag="train", output_transform=lambda loss: {"loss": loss, "both": [1, torch.tensor([2.0, 3.0])]}, state_attributes=["epoch"])
    logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED(once=2), optimizer=optimizer)
    logger.attach(trainer, WeightsScalarHandler(model), Events.EPOCH_COMPLETED)
    logger.attach(trainer, GradsScalarHandler(model, tag="my"), Events.EPOCH_COMPLETED | Events.COMPLETED)
    logger.attach_output_handler(evaluator, Events.EPOCH_COMPLETED, tag="eval", metric_names="all", global_step_transform=global_step_from_engine(trainer))
    best = Checkpoint({"model": model}, RuncastSaver(logger), filename_prefix="best", n_saved=1)
    evaluator.add_event_handler(Events.COMPLETED, best)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
    trainer.run(data, max_epochs=2)
evaluator.run(data)  # after the end: the same run
logger.close()

# histograms, and the calls of other loggers
model, optimizer, trainer, evaluator = engines()
with RuncastLogger("none", id="calls", log_dir="runs", tags=["a"]) as logger:
    logger.attach(trainer, WeightsHistHandler(model), Events.EPOCH_COMPLETED)
    logger.attach(trainer, GradsHistHandler(model, tag="my"), Events.EPOCH_COMPLETED)
    trainer.run(data)
    logger.log({"mine": 1.0}, step=5)
    logger.log_params({"width": 4})
    writer = logger.writer
    writer.add_scalar("scalar", torch.tensor(0.5), 6)
    writer.add_scalars("scalars", {"a": 1, "b": 2}, 6)
    writer.add_image("image", torch.zeros(3, 4, 5), 7)
    writer.add_image("grey", torch.zeros(4, 5), 7, dataformats="HW")
    writer.add_images("images", torch.zeros(2, 4, 5, 3).numpy(), 7, dataformats="NHWC")
    writer.add_histogram("histogram", torch.randn(10), 7)
    writer.add_text("text", "hello", 7)
    writer.add_audio("sound", torch.zeros(1, 100), 7, sample_rate=8000)
    writer.add_hparams({"lr": 0.1}, {"hparam/accuracy": 0.5}, global_step=8)
    writer.add_video("video", torch.zeros(1, 3, 3, 4, 5), 8, fps=2)
    writer.add_image("none", None, 8)
    writer.flush()
    logger.config.width = 8
    logger.summary["best"] = 0.5
    print("attributes", logger.id, logger.status, logger.step)
    for wrong in (lambda: writer.add_embedding, lambda: logger.watch):
        try:
            wrong()
        except AttributeError as error:
            print("wrong", error)

import copy, pickle
logger = RuncastLogger("none", id="copies")
report(logger, trainer)
for again in (logger, pickle.loads(pickle.dumps(logger)), copy.deepcopy(logger)):
    again.log({"loss": 1.0}, step=0)
logger.close()

# the ways in which a training ends
def ending(name, end, around=lambda run: run()):
    model, optimizer, trainer, evaluator = engines()
    logger = RuncastLogger("none", id=name)
    report(logger, trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), end)
    def run():
        with logger:
            around(lambda: trainer.run(data, max_epochs=2))
    try:
        run()
    except BaseException as error:
        print(name, type(error).__name__)

def fail(engine):
    raise ValueError("out of luck")

def interrupt(engine):
    raise KeyboardInterrupt

def swallow(run):
    try:
        run()
    except ValueError:
        pass

def fail_at_once(engine):
    engine.add_event_handler(Events.ITERATION_STARTED, fail)

model, optimizer, trainer, evaluator = engines()
trainer.add_event_handler(Events.STARTED, fail_at_once)
try:
    with RuncastLogger("none", id="early") as logger:
        report(logger, trainer)
        trainer.run(data)
except ValueError:
    pass

ending("failed", fail)
ending("killed", interrupt)
ending("caught", fail, swallow)
ending("terminated", lambda engine: engine.terminate())
ending("interrupted", lambda engine: engine.interrupt())

# close in a finally, without a with
model, optimizer, trainer, evaluator = engines()
logger = RuncastLogger("none", id="finally")
report(logger, trainer)
trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), fail)
try:
    try:
        trainer.run(data)
    finally:
        logger.close()
except ValueError as error:
    print("finally", error)

# two trainings: the second resumes the first, and its run
for epochs in (1, 2):
    model, optimizer, trainer, evaluator = engines()
    logger = RuncastLogger("none", name="resumed")
    to_save = {"model": model, "trainer": trainer, "logger": logger}
    if epochs == 2:
        Checkpoint.load_objects(to_load=to_save, checkpoint=torch.load("checkpoint.pt"))
    with logger:
        report(logger, trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: torch.save({k: v.state_dict() for k, v in to_save.items()}, "checkpoint.pt"))
        trainer.run(data, max_epochs=epochs)

# never closed, and a value after the end, when the script ends
model, optimizer, trainer, evaluator = engines()
with RuncastLogger("none", id="later") as later:
    report(later, trainer)
    trainer.run(data)
later.log({"test": 1.0}, step=9)
left = RuncastLogger("none", id="left")
report(left, trainer)
trainer.run(data)
"""
)


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    """Run all scenarios in one process; return their runs by id or name, and what was printed."""
    folder = tmp_path_factory.mktemp("ignite")
    printed = run_well(SCENARIOS, folder, modules=IGNITE)
    return {told.path.name: told for told in runs_in(folder)} | {told.name: told for told in runs_in(folder)}, printed


def test_handlers_filters_and_several_engines_make_one_run(scenarios):
    """Names, steps and event filters are those of Ignite's own loggers."""
    told = scenarios[0]["all"]

    steps = {key: told.steps(key) for key in told.points}
    assert steps == {
        "train/loss": [3, 6],
        "train/both/0": [3, 6],
        "train/both/1/0": [3, 6],
        "train/both/1/1": [3, 6],
        "train/epoch": [3, 6],
        "lr/group_0": [2],
        "weights_norm/weight": [1, 2],
        "weights_norm/bias": [1, 2],
        "my/grads_norm/weight": [1, 2, 2],
        "my/grads_norm/bias": [1, 2, 2],
        "eval/accuracy": [1, 2, 2],
    }
    assert told.params["lr"] == 0.1


def test_histograms_and_calls_of_other_loggers_are_kept(scenarios):
    """Those of TensorboardLogger's writer and handlers; what a run cannot hold is one clear error."""
    told = scenarios[0]["calls"]

    assert told.media == [
        *(("weights/weight", "histogram", 1), ("weights/bias", "histogram", 1)),
        *(("my/grads/weight", "histogram", 1), ("my/grads/bias", "histogram", 1)),
        *(("image", "image", 7), ("grey", "image", 7), ("images/0", "image", 7), ("images/1", "image", 7)),
        *(("histogram", "histogram", 7), ("text", "text", 7), ("sound", "audio", 7)),
        ("video", "video", 8),
    ]
    assert told.points == {
        "mine": [(5, 1.0)],
        "scalar": [(6, 0.5)],
        "scalars/a": [(6, 1)],
        "scalars/b": [(6, 2)],
        "hparam/accuracy": [(8, 0.5)],
    }
    assert {"lr": 0.1}.items() <= told.params.items()
    assert [record["key"] for record in told.of_type("dropped")] == ["none"]
    wrong = [line for line in scenarios[1].splitlines() if line.startswith("wrong")]
    assert "no 'add_embedding'" in wrong[0]
    assert "no 'watch'" in wrong[1]


def test_the_logger_has_what_the_run_has(scenarios):
    """Its methods and its attributes."""
    told = scenarios[0]["calls"]

    assert (told.params["width"], told.summary) == (8, {"best": 0.5})
    assert "attributes calls None 8" in scenarios[1].splitlines()


def test_a_training_that_fails_before_its_first_value_is_a_run(scenarios):
    """The engine's start opens it."""
    told = scenarios[0]["early"]

    assert (told.points, told.endings) == ({}, ["failed"])


def test_a_logger_that_is_never_closed_has_finished_when_its_engines_have(scenarios):
    """As the script ends; so has what was logged after the end."""
    assert scenarios[0]["left"].endings == ["finished"]
    assert scenarios[0]["later"].endings == ["finished", "finished"]


def test_copies_of_a_logger_share_its_run(scenarios):
    """Pickled or copied, also with engines attached."""
    told = scenarios[0]["copies"]

    assert told.steps("loss") == [0, 0, 0]
    assert told.endings == ["finished"]


def test_a_wrong_option_is_an_error_at_once():
    """With the one that was meant."""
    from runcast.adapters.ignite import RuncastLogger

    with pytest.raises(OptionError, match="Did you mean 'project'"):
        RuncastLogger("none", project_name="mine")


def test_checkpoints_become_versions_of_an_artifact(scenarios):
    """Under the checkpoint's base name."""
    assert set(scenarios[0]["all"].artifacts) == {("best_model", "model")}


def test_an_evaluation_after_the_end_goes_on_with_the_run(scenarios):
    """No orphan run."""
    assert scenarios[0]["all"].endings == ["finished", "finished"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("failed", "failed"),
        ("killed", "killed"),
        ("caught", "failed"),
        ("terminated", "finished"),
        ("interrupted", "finished"),
        ("finally", "failed"),
    ],
)
def test_the_status_is_the_true_one(scenarios, name, status):
    """Leaving the `with` after an error is no success, as it is with Ignite's own loggers; nor is a swallowed error."""
    told, printed = scenarios[0][name], scenarios[1]

    assert told.endings == [status]
    assert told.steps("train/loss")[:2] == [1, 2]
    if name in ("failed", "finally"):
        assert "out of luck" in told.of_type("finish")[0]["error"]
    assert {"failed ValueError", "killed KeyboardInterrupt", "finally out of luck"} <= set(printed.splitlines())


def test_a_resumed_training_goes_on_with_its_run(scenarios):
    """When the logger is saved in the checkpoint, beside the trainer."""
    told = scenarios[0]["resumed"]

    assert told.steps("train/loss") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert told.endings == ["finished", "finished"]


def test_only_rank_zero_reports(tmp_path):
    """Two processes of Ignite's launcher make one run, with every point once."""
    script = (
        ENGINES
        + """
import ignite.distributed as idist

def training(rank):
    model, optimizer, trainer, evaluator = engines()
    with RuncastLogger("none") as logger:
        report(logger, trainer)
        logger.attach_opt_params_handler(trainer, Events.EPOCH_COMPLETED, optimizer=optimizer)
        trainer.add_event_handler(Events.COMPLETED, Checkpoint({"model": model}, RuncastSaver(logger), filename_prefix="last"))
        trainer.run(data)

with idist.Parallel(backend="gloo") as parallel:
    parallel.run(training)
"""
    )

    (tmp_path / "script.py").write_text(script)
    job = run_ranks(["script.py"], tmp_path, 2, modules=IGNITE)
    assert job.codes == [0, 0], job.outputs

    told = only_run_in(tmp_path)
    assert {key: told.steps(key) for key in told.points} == {"train/loss": [1, 2, 3, 4], "lr/group_0": [1]}
    assert told.artifacts == [("last_model", "model")]


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    """As its first lines say, with what it promises, once in the tracker."""
    printed = run_well(
        EXAMPLES / "ignite_engine.py", tmp_path, "--epochs", "2", "--report_to", "tensorboard", modules=IGNITE
    )

    told = only_run_in(tmp_path)
    assert "'eval/accuracy': 0." in printed
    assert told.steps("train/loss") == [5, 10, 15, 20, 25, 30, 35, 40, 45]
    assert told.steps("eval/accuracy") == [23, 46]
    assert_everywhere_once(told, ["tensorboard"])
