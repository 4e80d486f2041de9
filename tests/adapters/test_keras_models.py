"""Models, metrics and optimizers of every kind, whatever they can say of themselves, and the copies that tuners make."""

import pytest

from tests.adapters.kit import run_well, runs_in
from tests.adapters.test_keras import MODEL, TORCH
from tests.warm import KERAS

SCENARIOS = (
    MODEL
    + """
import contextlib, copy, pickle
from runcast.core.errors import OptionError

# a schedule without a configuration, as in Keras' own tutorials
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1

model = make()
model.compile(keras.optimizers.Adam(Schedule()), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
fit(model, RuncastCallback("none", id="schedule"))

# a metric with a value for each class
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
model.compile("sgd", "mse", metrics=[keras.metrics.F1Score(average=None)])
model.fit(x, keras.utils.to_categorical(y, 2), batch_size=8, epochs=2, verbose=0, callbacks=[RuncastCallback("none", id="classes", every_steps=1)])

# a layer that cannot be written down
class Odd(keras.layers.Layer):
    def __init__(self, thing):
        super().__init__()
        self.thing = thing

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {"thing": self.thing}

model = keras.Sequential([keras.Input((4,)), Odd(object()), keras.layers.Dense(1)])
model.compile("sgd", "mse")
fit(model, RuncastCallback("none", id="odd", log_model="all"))

# a loop by hand, with a model that is neither built nor compiled
class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(2)

    def call(self, inputs):
        return self.layer(inputs)

callback = RuncastCallback("none", id="unbuilt", every_steps=1, log_model="last")
callback.set_model(Subclassed())
callback.on_train_begin()
callback.on_epoch_begin(0)
callback.on_train_batch_end(0, {"loss": 1.0, 7: 0.5})
callback.on_epoch_end(0, {"loss": 1.0})
callback.on_train_end()

# a copy for each trial, as of a tuner; a trained one can be copied and pickled, too
original = RuncastCallback("none", name="trial", every_steps=2, log_model="best")
for _ in range(2):
    fit(make(), *copy.deepcopy([original]))
fit(make(), original)
fit(make(), copy.deepcopy(original))
pickle.dumps(original)
chosen = RuncastCallback("none", id="chosen")
fit(make(), copy.deepcopy(chosen))
fit(make(), chosen)

# what is wrong is an error at once
for wrong in ({"every_steps": "epoch"}, {"every_steps": -1}, {"every_steps": 0.5}, {"mode": "maximum"}, {"run": "mine"}):
    try:
        RuncastCallback("none", **wrong)
    except OptionError as error:
        print("wrong", next(iter(wrong)))
fit(make(), RuncastCallback("none", id="epochs", every_steps=None))

# after an interrupt that a notebook has shown
import sys
callback, model = RuncastCallback("none", id="interrupted"), make()
try:
    fit(model, callback, At(1, KeyboardInterrupt()), epochs=2)
except KeyboardInterrupt as error:
    sys.last_value = sys.last_exc = error
fit(model, callback)
"""
)


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    """Run all scenarios in one process; return their runs by id, and what was printed."""
    folder = tmp_path_factory.mktemp("keras-models")
    printed = run_well(SCENARIOS, folder, modules=KERAS, environment=TORCH)
    return {told.path.name: told for told in runs_in(folder)}, printed.splitlines()


def dropped(told):
    """Map what was counted and not kept to the first reason."""
    return {record["key"]: record["reason"] for record in reversed(told.of_type("dropped"))}


def test_a_schedule_that_cannot_describe_itself_is_named(scenarios):
    """Keras raises for it, and the training goes on."""
    told = scenarios[0]["schedule"]

    assert (told.params["optimizer/class"], told.params["optimizer/learning_rate"]) == ("Adam", "Schedule")
    assert told.points["train/learning_rate"] == [(8, 0.1)]


def test_a_metric_of_several_values_is_counted(scenarios):
    """At a step that is logged by the batch and by the epoch."""
    told = scenarios[0]["classes"]

    assert told.steps("train/loss") == list(range(1, 17))
    assert "ndarray of 2 elements" in dropped(told)["train/f1_score"]


def test_a_model_that_cannot_be_saved_is_counted(scenarios):
    """Of an odd layer, and before it is built; its training is finished."""
    for name, keys in (("odd", {"model-best", "model-last"}), ("unbuilt", set())):
        told = scenarios[0][name]
        assert set(dropped(told)) >= keys
        assert (told.steps("train/loss")[-1], told.endings) == (8 if name == "odd" else 1, ["finished"])
    assert scenarios[0]["unbuilt"].points["train/7"] == [(1, 0.5)]


def test_copies_made_before_a_training_have_runs_of_their_own(scenarios):
    """Each trial of a tuner; but a copy of a trained one goes on with its run, as does one whose run has a given id."""
    trials = [told for told in scenarios[0].values() if told.name == "trial"]

    steps = [2, 4, 6, 8]
    assert sorted(told.steps("train/loss") for told in trials) == [steps, steps, [*steps, 10, 12, 14, 16]]
    assert scenarios[0]["chosen"].endings == ["finished", "finished"]


def test_a_wrong_setting_is_an_error_at_once(scenarios):
    """Not at the first batch or epoch."""
    assert [line for line in scenarios[1] if "wrong" in line] == [
        f"wrong {name}" for name in (*["every_steps"] * 3, "mode", "run")
    ]
    assert scenarios[0]["epochs"].steps("train/loss") == [8]


def test_an_interrupted_fit_was_killed(scenarios):
    """Also where the next fit is the first to know of it."""
    told = scenarios[0]["interrupted"]

    assert told.endings == ["killed", "finished"]
    assert "KeyboardInterrupt" in told.of_type("finish")[0]["error"]
