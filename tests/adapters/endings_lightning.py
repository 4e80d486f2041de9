"""Ways in which a script with lightning.Trainer ends."""

import contextlib

from runcast.adapters.lightning import RuncastLogger
from tests.adapters.scenarios import each_in_a_child
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer


def fit(error=None, **options):
    """Train with a logger that reports to the journal alone; fail at the third step."""
    trainer = make_trainer(RuncastLogger("none", **options))
    trainer.fit(Tiny(error), loader(), loader())
    return trainer


def caught():
    """Catch what leaves the training, and end well."""
    with contextlib.suppress(RuntimeError):
        fit(RuntimeError("diverged"))


each_in_a_child(
    {
        "trained": fit,
        "tested": lambda: fit().test(Tiny(), loader(), verbose=False),
        "raised": lambda: fit(RuntimeError("diverged")),
        "interrupted": lambda: fit(KeyboardInterrupt()),
        "exited": lambda: fit(SystemExit(3)),
        "caught": caught,
    }
)
