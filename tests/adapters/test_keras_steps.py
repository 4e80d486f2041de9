"""Steps of Keras models are those that the optimizer made, and whatever is done inside or after a fit is one run."""

import pytest

from tests.adapters.kit import run_well, runs_in
from tests.adapters.test_keras import MODEL, TORCH
from tests.warm import KERAS

SCENARIOS = (
    MODEL
    + """
def report(name, **options):
    return RuncastCallback("none", id=name, **{"every_steps": 0, **options})

def generator(batches=10, size=8):
    for _ in range(batches):
        yield x[:size], y[:size]

class Twice(keras.Model):
    # a train_step of its own that makes two steps of the model's optimizer for each batch
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(2)

    def call(self, inputs):
        return self.layer(inputs)

    def train_step(self, data):
        for _ in range(2):
            self.zero_grad()
            loss = self.compute_loss(y=data[1], y_pred=self(data[0], training=True))
            loss.backward()
            weights = list(self.trainable_weights)
            with torch.no_grad():
                self.optimizer.apply([w.value.grad for w in weights], weights)
        return {"loss": loss.detach()}

class Own(keras.Model):
    # optimizers of its own, as a GAN has them, beside one of the model that stands still
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(2)
        self.first = keras.optimizers.SGD(0.1)

    def call(self, inputs):
        return self.layer(inputs)

    def train_step(self, data):
        self.zero_grad()
        loss = self.compute_loss(y=data[1], y_pred=self(data[0], training=True))
        loss.backward()
        weights = list(self.trainable_weights)
        with torch.no_grad():
            self.first.apply([w.value.grad for w in weights], weights)
        return {"loss": loss.detach()}

class Torch(Own):
    # an optimizer of torch, and none of Keras
    def train_step(self, data):
        loss = self.compute_loss(y=data[1], y_pred=self(data[0], training=True))
        loss.backward()
        return {"loss": loss.detach()}

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def own(kind, optimizer="sgd"):
    model = kind()
    model.compile(optimizer=optimizer, loss=LOSS)
    return model

# several steps in an execution, which the backend of PyTorch does not have: Keras' own epochs, driven as its `fit` does
from keras.src.trainers.epoch_iterator import EpochIterator

def execute(callback, steps_per_execution, epochs, **data):
    model = make()
    model.make_train_function()
    model.steps_per_execution = steps_per_execution
    epoch = EpochIterator(**data, steps_per_execution=steps_per_execution)
    callbacks = keras.callbacks.CallbackList([callback], model=model, epochs=epochs, steps=epoch.num_batches)
    callbacks.on_train_begin()
    for number in range(epochs):
        callbacks.on_epoch_begin(number)
        for begin, end, batches in epoch:
            for inputs, labels in batches:
                logs = model.train_on_batch(inputs, labels, return_dict=True)
            callbacks.on_train_batch_end(end, logs)
        epoch.reset()
        callbacks.on_epoch_end(number, logs)
    callbacks.on_train_end()
    print("iterations", int(model.optimizer.iterations))

execute(report("executions", every_steps=2), 3, 2, x=x, y=y, batch_size=8)
execute(report("every-tenth", every_steps=10), 4, 2, x=np.repeat(x, 2, 0), y=np.repeat(y, 2, 0), batch_size=4)
execute(report("generated", every_steps=3), 4, 1, x=generator())

# a train_step or optimizers of one's own
fit(own(Twice), report("twice", every_steps=5), epochs=2)
fit(own(Own), report("own", every_steps=5), epochs=2)
fit(own(Torch, None), report("torch", every_steps=5), epochs=2)
fit(make(gradient_accumulation_steps=3), report("accumulated", every_steps=2), epochs=2)

# compile, fit, compile, fit
model, callback = make(), report("compiled", every_steps=5)
fit(model, callback)
model.compile(optimizer="sgd", loss=LOSS)
fit(model, callback)
fit(model, callback)
print("recompiled", int(model.optimizer.iterations))

# two models, epochs that begin later, validation now and then, and a training that stops by itself
callback = report("two")
first, second = make(), make()
fit(first, callback); fit(second, callback); fit(first, callback)
fit(make(), report("later"), epochs=4, initial_epoch=2, validation_data=(x, y), validation_freq=2)

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == 4

fit(make(), report("stopped", every_steps=1), Stop(), epochs=3)

# evaluate, predict and fit inside a fit
class Inside(keras.callbacks.Callback):
    def __init__(self, report, what):
        super().__init__()
        self.report, self.what = report, what

    def on_epoch_end(self, epoch, logs=None):
        try:
            self.what(self.model, self.report)
        except ZeroDivisionError:
            pass

def inside(name, what, *more):
    callback = report(name)
    fit(make(), callback, Inside(callback, what), *more, epochs=3, validation_data=(x[:16], y[:16]))

class Broken(keras.callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None):
        raise ZeroDivisionError

inside("evaluated", lambda model, report: model.evaluate(x, y, callbacks=[report], verbose=0))
inside("broken", lambda model, report: model.evaluate(x, y, callbacks=[report, Broken()], verbose=0))
inside("predicted", lambda model, report: model.predict(x, callbacks=[report], verbose=0))
inside("other", lambda model, report: make().evaluate(x[:8], y[:8], batch_size=2, callbacks=[report], verbose=0))
inside("fitted", lambda model, report: fit(make(), report))
callback = report("list")
model = make()
model.fit(x, y, batch_size=8, callbacks=keras.callbacks.CallbackList([callback], add_history=True, model=model, epochs=1, steps=8), verbose=0)

# after a fit that has failed: a prediction, an evaluation, a fit
def failed(name, after):
    callback, model = report(name), make()
    try:
        fit(model, callback, At(1, ValueError("out of luck")), epochs=2)
    except ValueError:
        pass
    after(model, callback)

failed("failed-predicted", lambda model, report: model.predict(x, callbacks=[report], verbose=0))
failed("failed-evaluated", lambda model, report: model.evaluate(x, y, callbacks=[report], verbose=0))
failed("failed-fitted", lambda model, report: fit(model, report))
predicted = report("only-predicted")
make().predict(x, callbacks=[predicted], verbose=0)

# a loop by hand
model, callback = make(), report("by-hand", every_steps=3)
callback.set_model(model)
callback.on_train_begin()
for epoch in range(2):
    callback.on_epoch_begin(epoch)
    for batch in range(4):
        logs = model.train_on_batch(x[:8], y[:8], return_dict=True)
        callback.on_train_batch_end(batch, logs)
    model.evaluate(x, y, callbacks=[callback], verbose=0)
    callback.on_epoch_end(epoch, logs)
callback.on_train_end()
"""
)


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    """Run all scenarios in one process; return their runs by id, and what was printed."""
    folder = tmp_path_factory.mktemp("keras-steps")
    printed = run_well(SCENARIOS, folder, modules=KERAS, environment=TORCH)
    return {told.path.name: told for told in runs_in(folder)}, printed.splitlines()


def test_no_step_is_logged_that_was_not_made(scenarios):
    """Executions of three steps end at 3, 6 and 8 of 8; every second step is logged when it was passed."""
    assert [line for line in scenarios[1] if "iterations" in line] == [f"iterations {n}" for n in (16, 64, 10)]
    assert scenarios[0]["executions"].steps("train/loss") == [3, 6, 8, 11, 14, 16]
    assert scenarios[0]["every-tenth"].steps("train/loss") == [12, 20, 32, 40, 52, 60, 64]
    assert scenarios[0]["generated"].steps("train/loss") == [4, 8, 10]


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("twice", [10, 16, 20, 26, 30, 32]),
        ("own", [5, 8, 10, 15, 16]),
        ("torch", [5, 8, 10, 15, 16]),
        ("accumulated", [2, 4, 5]),
        ("compiled", [5, 8, 10, 15, 16, 20, 24]),
        ("two", [8, 16, 24]),
        ("later", [8, 16]),
        ("stopped", [1, 2, 3, 4, 5]),
    ],
)
def test_steps_are_those_of_the_optimizer_and_go_on(scenarios, name, steps):
    """Of a train_step of one's own, of other optimizers, of accumulated batches, over compiles, models and fits."""
    assert sorted(set(scenarios[0][name].steps("train/loss"))) == steps
    assert set(scenarios[0][name].endings) == {"finished"}


def test_epochs_keep_their_numbers(scenarios):
    """With an initial_epoch, and where only each second epoch is validated."""
    told = scenarios[0]["later"]

    assert told.points["train/epoch"] == [(8, 3), (16, 4)]
    assert told.steps("val/loss") == [16]


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("evaluated", [8, 16, 24]), ("broken", []), ("predicted", []), ("other", [8, 16, 24]), ("list", [])],
)
def test_what_is_done_inside_a_fit_is_part_of_its_run(scenarios, name, evaluations):
    """An evaluation by another callback, also one that breaks off or is of another model, and a prediction."""
    told = scenarios[0][name]

    epochs = [8] if name == "list" else [8, 16, 24]
    assert told.endings == ["finished"]
    assert told.steps("train/loss") == epochs
    assert told.steps("val/loss") == ([] if name == "list" else epochs)
    assert told.steps("eval/loss") == evaluations


def test_a_fit_inside_a_fit_is_part_of_its_run(scenarios):
    """One session, and the steps of both go on."""
    told = scenarios[0]["fitted"]

    assert told.endings == ["finished"]
    assert told.steps("train/loss") == [8, 16, 24, 32, 40, 48]


@pytest.mark.parametrize(
    ("name", "endings"),
    [
        ("failed-predicted", ["failed"]),
        ("failed-evaluated", ["failed", "finished"]),
        ("failed-fitted", ["failed", "finished"]),
    ],
)
def test_what_comes_after_a_fit_that_failed_says_so(scenarios, name, endings):
    """At the next call with the callback; a prediction reports nothing of its own."""
    assert scenarios[0][name].endings == endings
    assert "only-predicted" not in scenarios[0]


def test_a_loop_by_hand_is_counted_too(scenarios):
    """`train_on_batch` with the callback's methods called by the script, and an evaluation in between."""
    told = scenarios[0]["by-hand"]

    assert told.steps("train/loss") == [3, 4, 6, 8]
    assert told.steps("eval/loss") == [4, 8]
    assert told.endings == ["finished"]
