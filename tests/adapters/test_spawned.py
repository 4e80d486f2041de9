"""Processes that a script spawns, in whatever framework's way, report to the one run of the adapter that it made."""

import pytest

from tests import warm
from tests.adapters.kit import only_run_in, run_well

ACCELERATE = """
from accelerate import Accelerator, debug_launcher
from runcast.adapters.accelerate import RuncastTracker

def train(tracker, step):
    accelerator = Accelerator(log_with=tracker, cpu=True)
    accelerator.init_trackers("digits", config={"lr": 1})
    accelerator.log({"train/loss": 1.0}, step=step)
    accelerator.end_training()

if __name__ == "__main__":
    tracker = RuncastTracker(report_to="none")
    debug_launcher(train, args=(tracker, 1), num_processes=2)
    debug_launcher(train, args=(tracker, 2), num_processes=2)
    train(tracker, 3)
"""
IGNITE = """
import ignite.distributed as idist, multiprocessing
from ignite.engine import Engine, Events
from runcast.adapters.ignite import RuncastLogger

def train(rank, logger, first):
    engine = Engine(lambda engine, batch: batch)
    logger.attach_output_handler(
        engine, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda output: {"loss": output},
        global_step_transform=lambda *_: first,
    )
    with logger:
        engine.run([1.0])

if __name__ == "__main__":
    logger = RuncastLogger("none")
    multiprocessing.set_forkserver_preload(["torch._dynamo", "ignite.engine"])
    for first in (1, 2):
        idist.spawn("gloo", train, args=(logger, first), nproc_per_node=2, start_method="forkserver")
    logger.log({"train/loss": 1.0}, step=3)
    logger.close()
"""
KERAS = """
import copy, multiprocessing, sys
import keras, numpy as np
from runcast.adapters.keras import RuncastCallback

def train(callback, batches):
    x = np.random.rand(batches, 4).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], batch_size=1, verbose=0, callbacks=[callback])

if __name__ == "__main__":
    callback = RuncastCallback("none", every_steps=0)
    multiprocessing.set_forkserver_preload(["torch._dynamo", "keras"])
    for batches in (1, 2):
        process = multiprocessing.get_context("forkserver").Process(target=train, args=(callback, batches))
        process.start()
        process.join()
    train(copy.deepcopy(callback), 3)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "modules"),
    [(ACCELERATE, warm.ACCELERATE), (IGNITE, warm.IGNITE), (KERAS, warm.KERAS)],
    ids=["accelerate", "ignite", "keras"],
)
def test_one_run_for_two_spawned_trainings_and_the_script(folder, script, modules):
    """Two trainings in processes of their own, and what the script reports after them."""
    run_well(script, folder, modules=modules, environment={"KERAS_BACKEND": "torch"})

    told = only_run_in(folder)
    assert told.steps("train/loss") == [1, 2, 3]
    assert told.endings == ["finished"] * 3


CHILD = """
import os
from runcast.run.init import init
from runcast.run.lasting import LastingRun

local = os.environ.pop("LOCAL_RANK")
init(report_to="none", id="mine").finish()
os.environ["LOCAL_RANK"] = local
lasting = LastingRun("none", id="mine", resume="never")
assert LastingRun("none").id is None
"""


def test_a_process_with_a_local_rank_refuses_no_run_that_the_first_one_has_opened(folder):
    """Lightning starts the other ranks by the script, with a local rank alone."""
    run_well(CHILD, folder, environment={"LOCAL_RANK": "1", "WORLD_SIZE": "2"})
