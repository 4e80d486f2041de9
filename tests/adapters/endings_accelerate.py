"""Ways in which a script with an Accelerator ends."""

from accelerate import Accelerator

from runcast.adapters.accelerate import RuncastTracker
from tests.adapters.scenarios import each_in_a_child


def train(error=None):
    """Log three steps to the journal alone; fail behind the third."""
    accelerator = Accelerator(log_with=RuncastTracker(report_to="none"), cpu=True)
    accelerator.init_trackers("endings")
    for step in range(3):
        accelerator.log({"loss": 1 / (step + 1)}, step=step)
    if error is not None:
        raise error
    return accelerator


def finally_ended(error):
    """End the training in a `finally` block."""
    accelerator = train()
    try:
        if error is not None:
            raise error
    finally:
        accelerator.end_training()


each_in_a_child(
    {
        "trained": lambda: finally_ended(None),
        "left_open": train,
        "raised": lambda: train(RuntimeError("diverged")),
        "interrupted": lambda: train(KeyboardInterrupt()),
        "finally_raised": lambda: finally_ended(RuntimeError("diverged")),
        "finally_interrupted": lambda: finally_ended(KeyboardInterrupt()),
    }
)
