"""Keras models, reported to every tracker by a callback, whatever is done with them."""

import pytest

from tests.adapters.kit import (
    EXAMPLES,
    assert_everywhere_once,
    only_run_in,
    run_script,
    run_well,
    runs_in,
)
from tests.warm import KERAS

TORCH = {"KERAS_BACKEND": "torch"}
MODEL = """
import os

import keras, numpy as np, torch
from torch.utils._python_dispatch import TorchDispatchMode

from runcast.adapters.keras import MetricCallback, RuncastCallback

keras.utils.set_random_seed(0)
x = np.random.rand(64, 4).astype("float32")
y = (x.sum(1) > 2).astype("int32")


def make(**options):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.01, **options), loss=loss, metrics=["accuracy"])
    return model


def fit(model, *callbacks, epochs=1, **options):
    return model.fit(x, y, batch_size=8, epochs=epochs, callbacks=list(callbacks), verbose=0, **options)


class At(keras.callbacks.Callback):
    def __init__(self, epoch, error):
        super().__init__()
        self.epoch, self.error = epoch, error

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise self.error
"""

SCENARIOS = (
    MODEL
    + """
# accumulation, validation, checkpoints, and what comes after
model = make(gradient_accumulation_steps=2)
report = RuncastCallback("none", id="all", config={"seed": 0}, every_steps=3, log_model="all")
fit(model, report, epochs=2, validation_data=(x, y))
model.evaluate(x, y, callbacks=[report], verbose=0)
fit(model, report)
model.evaluate(x, y, callbacks=[report], verbose=0)

# metrics of batches are those that Keras shows, without a value being read that Keras did not read
class Reads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += "_local_scalar_dense" in str(function)
        return function(*arguments, **(options or {}))

def reads(*callbacks):
    keras.utils.set_random_seed(0)
    with Reads() as counter:
        history = fit(make(), *callbacks)
    return counter.count, history.history["loss"]

plain, with_report = reads(), reads(RuncastCallback("none", id="reads", every_steps=1))
print("reads", with_report[0] - plain[0], plain[1] == with_report[1])

# the ways in which a training ends
with_block = RuncastCallback("none", id="killed")
try:
    with with_block:
        fit(make(), with_block, At(1, KeyboardInterrupt()), epochs=2)
except KeyboardInterrupt:
    pass
report = RuncastCallback("none", id="caught")
model = make()
try:
    fit(model, report, At(1, ValueError("out of luck")), epochs=2)
except ValueError:
    pass
model.evaluate(x, y, callbacks=[report], verbose=0)

# a training that is resumed from a backup
def resume(*callbacks):
    keras.utils.set_random_seed(0)
    backup = keras.callbacks.BackupAndRestore("backup")
    fit(make(), backup, RuncastCallback("none", name="resumed", every_steps=0, backup_dir="backup"), *callbacks, epochs=3)

try:
    resume(At(2, ValueError("out of luck")))
except ValueError:
    pass
resume()
resume()  # is another training: the one before is over

# metrics of outputs
def share(predictions, labels):
    return float(np.mean([np.argmax(p) == l for p, l in zip(predictions, labels, strict=True)]))

model = make()
same = fit(model, MetricCallback(share, (x, y), batch_size=10), RuncastCallback("none", id="metric"), validation_data=(x, y))
print("metric", same.history["val_share"][0] == round(same.history["val_accuracy"][0], 6))

inputs = keras.Input((4,))
two = keras.Model(inputs, {"first": keras.layers.Dense(2)(inputs), "second": keras.layers.Dense(2)(inputs)})
two.compile(optimizer="sgd", loss={"first": "mse", "second": "mse"})
seen = {}
def look(predictions, labels):
    seen["forms"] = (len(predictions), predictions[0].shape, len(labels), labels[0].shape)
    return {"val_number": len(predictions), "sum": 1}
batches = [{"inputs": x[:5], "labels": y[:5]}, {"inputs": x[5:9], "labels": y[5:9]}]
history = two.fit(x, {"first": x[:, :2], "second": x[:, :2]}, verbose=0, callbacks=[MetricCallback(look, [(b["inputs"], b) for b in batches], output_cols=["second"], label_cols=["labels"])])
print("forms", seen["forms"], history.history["val_number"], history.history["val_sum"])

class Endless(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return x[:3], y[:3]

ends = MetricCallback(lambda predictions, labels: len(labels), Endless(), name="rows")
ends.set_model(make())
logs = {}
ends.on_epoch_end(0, logs)
print("endless", logs)

class Writer(keras.Sequential):
    def generate(self, texts, suffix):
        return [text + suffix for text in texts]
writer = Writer([keras.Input((4,)), keras.layers.Dense(2)])
writer.compile(optimizer="sgd", loss="mse")
def exact(predictions, labels):
    return sum(p == l for p, l in zip(predictions, labels, strict=True))
history = writer.fit(x, x[:, :2], verbose=0, callbacks=[MetricCallback(exact, (["a", "b", "c"], ["a!", "b!", "c"]), batch_size=2, predict_with_generate=True, generate_kwargs={"suffix": "!"})])
print("generate", history.history["val_exact"])

# without validation the best is best in loss
fit(make(), RuncastCallback("none", id="unvalidated", log_model="best"), epochs=3)

# another rank
os.environ |= {"RANK": "1", "WORLD_SIZE": "2"}
fit(make(), RuncastCallback("none", id="rank-one", log_model="all"), validation_data=(x, y))
del os.environ["RANK"], os.environ["WORLD_SIZE"]
print("rank one trained")

# the last error of the script ends the last run
fit(make(), RuncastCallback("none", id="failed"), At(1, ValueError("out of luck")), epochs=2)
"""
)


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    """Run all scenarios in one process; return their runs by id and name, and what was printed."""
    folder = tmp_path_factory.mktemp("keras")
    done = run_script(SCENARIOS, folder, modules=KERAS, environment=TORCH)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "ValueError: out of luck"), done.stderr
    runs = runs_in(folder)
    return (
        {told.path.name: told for told in runs} | {told.name: told for told in reversed(runs)},
        done.stdout.splitlines(),
        runs,
    )


def test_steps_are_optimizer_steps_and_go_on(scenarios):
    """Batches of an accumulation count as one step, a second fit goes on, the last batch of an epoch counts once."""
    told = scenarios[0]["all"]

    assert told.steps("train/loss") == [3, 4, 6, 8, 9, 12]
    assert told.steps("val/loss") == told.steps("val/accuracy") == [4, 8]
    assert told.steps("train/epoch") == told.steps("train/learning_rate") == [4, 8, 12]
    assert told.steps("eval/loss") == [8, 12]
    assert told.endings == ["finished"] * 4


def test_params_say_what_was_configured(scenarios):
    """Of the fit, the optimizer, the loss, the model, and the user's own."""
    params = scenarios[0]["all"].params

    wanted = {"seed": 0, "fit/steps": 8, "optimizer/class": "Adam", "optimizer/gradient_accumulation_steps": 2}
    wanted |= {"loss": "sparse_categorical_crossentropy", "model/class": "Sequential", "model/num_parameters": 10}
    assert wanted.items() <= params.items()


def test_the_best_and_the_last_model_are_kept_and_the_architecture(scenarios):
    """As artifacts; the best one whenever it is better."""
    told = scenarios[0]["all"]

    names = [name for name, _ in told.artifacts]
    assert names.count("model-last") == 2
    assert names.count("model-best") >= 2
    assert [r["name"] for r in told.of_type("artifact") if r["kind"] == "config"] == ["config.json", "model.json"]
    assert scenarios[0]["unvalidated"].artifacts == [("model-best", "model")] * 3


def test_the_report_reads_no_value_that_keras_does_not(scenarios):
    """Of eight batches, all logged, none is read again; the learning rate of the epoch is, on a CPU."""
    assert "reads 1 True" in scenarios[1]
    assert scenarios[0]["reads"].steps("train/loss") == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("name", "endings"), [("failed", ["failed"]), ("killed", ["killed"]), ("caught", ["failed", "finished"])]
)
def test_the_status_is_the_true_one(scenarios, name, endings):
    """Also where Keras tells a callback nothing: of an exception that someone caught."""
    assert scenarios[0][name].endings == endings


def test_a_training_resumed_from_a_backup_goes_on_with_its_run(scenarios):
    """And the next training, when that one is over, is another run."""
    first, second = [told for told in scenarios[2] if told.name == "resumed"]

    assert first.steps("train/loss") == [8, 16, 24]
    assert second.steps("train/loss") == [8, 16, 24]


def test_a_metric_of_predictions_joins_the_epoch(scenarios):
    """In the history and in the run; of named outputs and labels, of pairs and of batches, of generated texts."""
    assert scenarios[0]["metric"].steps("val/share") == [8]
    assert {"metric True", "forms (9, (2,), 9, ()) [9.0] [1.0]", "generate [2.0]", "endless {'val_rows': 6.0}"} <= set(
        scenarios[1]
    )


def test_only_rank_zero_reports(scenarios):
    """In a process of another rank a whole training leaves nothing behind."""
    assert "rank one trained" in scenarios[1]
    assert "rank-one" not in scenarios[0]


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    """As its first lines say, with what it promises, once in the tracker."""
    printed = run_well(
        EXAMPLES / "keras_classifier.py",
        tmp_path,
        "--epochs",
        "2",
        "--report_to",
        "dvclive",
        modules=KERAS,
        environment=TORCH,
    )

    told = only_run_in(tmp_path)
    assert "'eval/accuracy': 0." in printed
    assert told.steps("val/worst_digit") == [23, 46]
    assert told.steps("eval/accuracy") == [46]
    assert_everywhere_once(told, ["dvclive"])
