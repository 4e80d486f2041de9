"""Keeping `torch.compile` out of a run: a model that it compiles may log, at the price of one break in its graph.

Dynamo would otherwise compile what a call of `log` runs through, frame by frame, and warn of what it cannot.
"""

import sys
from functools import cache
from inspect import isfunction
from types import FunctionType
from typing import Any

from runcast.core.foreign import attempt


def leave_uncompiled(*owners: Any) -> None:
    """Have the public functions of classes or modules called as they are; without torch, do nothing.

    `torch.compiler.disable` does it too, but imports the compiler, which takes seconds.
    """
    compiler = getattr(getattr(sys.modules.get("torch"), "_C", None), "_dynamo", None)
    if compiler is not None:
        attempt(lambda: _mark(compiler.eval_frame, owners), lambda _: None)  # of a torch with other names


@cache
def _mark(frames: Any, owners: tuple[Any, ...]) -> None:
    """Mark functions for those who trace a call of them, and their code for those who are called by it.

    As `torch._dynamo.decorators.disable` and `torch._dynamo.eval_frame.skip_code` do, in torch 2.13.
    """
    skip = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.SKIP)
    for function in _functions(owners):
        function._torchdynamo_disable = True  # type: ignore[attr-defined]
        frames.set_code_exec_strategy(function.__code__, skip)


def _functions(owners: tuple[Any, ...]) -> list[FunctionType]:
    spaces = [vars(each) for owner in owners for each in getattr(owner, "__mro__", (owner,))]
    return [each for space in spaces for name, each in space.items() if isfunction(each) and not name.startswith("_")]
