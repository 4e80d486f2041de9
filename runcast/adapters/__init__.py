"""The trainers that people already have: their events become those of a run.

One place per framework, which imports that framework when it is first used. Start reading at `accelerate.py`.
"""

import importlib.util
from typing import Any


def __getattr__(name: str) -> Any:
    if importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
