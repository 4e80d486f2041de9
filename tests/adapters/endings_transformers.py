"""Ways in which a script with transformers.Trainer ends."""

import contextlib
import sys

from runcast import ReportCallback
from tests.adapters.scenarios import each_in_a_child
from tests.adapters.tiny_transformers import Fail, make_trainer


def training(error=None):
    """Make a trainer that reports to the journal alone, and fails at its third step."""
    return make_trainer([ReportCallback("none"), *([Fail(error)] if error else [])])


def evaluated():
    """Evaluate after the training, in a function that leaves nothing behind."""
    trainer = training()
    trainer.train()
    trainer.evaluate()


def caught(then=lambda trainer: None):
    """Catch what leaves the training, then do something else, and end well."""
    trainer = training(RuntimeError("diverged"))
    with contextlib.suppress(RuntimeError):
        trainer.train()
    then(trainer)


def handled():
    """Evaluate while the error is handled."""
    trainer = training(KeyboardInterrupt("enough"))
    try:
        trainer.train()
    except KeyboardInterrupt:
        trainer.evaluate()


def notebook():
    """Do as IPython does: remember the error, go on."""
    trainer = training(KeyboardInterrupt("stop button"))
    try:
        trainer.train()
    except KeyboardInterrupt as error:
        sys.last_value = sys.last_exc = error
    sys.ps1 = ">>> "


each_in_a_child(
    {
        "trained": lambda: training().train(),
        "evaluated": evaluated,
        "raised": lambda: training(RuntimeError("diverged")).train(),
        "alone": lambda: make_trainer([Fail(KeyboardInterrupt())]).train(),
        "interrupted": lambda: training(KeyboardInterrupt()).train(),
        "exited": lambda: training(SystemExit(3)).train(),
        "caught": caught,
        "caught_and_evaluated": lambda: caught(lambda trainer: trainer.evaluate()),
        "handled": handled,
        "notebook": notebook,
    }
)
