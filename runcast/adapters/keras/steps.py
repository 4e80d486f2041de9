"""How many steps the optimizer of a Keras model has made, read from it as seldom as can be: reading waits for a GPU."""

from typing import Any

import keras


class OptimizerSteps:
    """The count of optimizer steps over the epochs and fits of one or several models.

    `step` continues when another optimizer takes over, as after a second `compile`. With the `train_step` of Keras and
    one step an execution, each batch is one, and the optimizer is read once an epoch. Otherwise it is read at every
    step that may be logged. A model whose own optimizer stands still, because it has others, is counted in batches.

    Args:
        callback: Has the model. With JAX, asking it for the model brings that up to date.
    """

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        self.step = 0
        self._callback = callback
        self._optimizer: Any = None
        self._accumulation, self._offset = 1, 0
        self._batches = self._begin = 0  # that this optimizer has seen: by now, and when the epoch began
        self._in_epoch, self._limit = 0, 0
        self._known = (0, 0)  # the batches of the epoch, and of the optimizer, when that was read last
        self._rate = 1.0  # batches of this optimizer for each batch of the data, for a train_step that makes several
        self._is_plain, self._is_idle = True, False

    def begin_epoch(self, batches: int | None = None) -> None:
        """Find the optimizer and its count, which a resumed or another training may have changed.

        Args:
            batches: How many the epoch has, if that is known.
        """
        model = self._callback.model
        optimizer = getattr(model, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer is not self._optimizer or self._optimizer is None:
            self._optimizer, self._is_idle, self._rate = optimizer, False, 1.0
            self._accumulation = getattr(optimizer, "gradient_accumulation_steps", None) or 1
            self._batches = (self._read() or 0) * self._accumulation
            self._offset = max(0, self.step - self._batches // self._accumulation)
        else:
            self._correct()
        train_step = getattr(type(model), "train_step", None)
        self._is_plain = train_step in _OWN and getattr(model, "steps_per_execution", 1) == 1
        self._begin, self._in_epoch, self._limit = self._batches, 0, batches or 0
        self._known = (0, self._begin)
        self._settle()

    def advance(self, batch: int, every: int) -> bool:
        """Count the batches up to this one; return whether a multiple of *every* steps was reached or passed."""
        before = self.step
        self._in_epoch = min(batch + 1, self._limit or batch + 1)  # the last execution may be a part of one
        self._batches = self._known[1] + int((self._in_epoch - self._known[0]) * self._rate)
        self._settle()
        if not every or self.step // every == before // every:
            return False
        if not self._is_plain:
            self.check()
        return self.step // every > before // every

    def check(self) -> None:
        """Read the optimizer's count."""
        self._correct()
        if self._in_epoch:
            self._rate = (self._batches - self._begin) / self._in_epoch or 1.0
            self._known = (self._in_epoch, self._batches)
        self._settle()

    def _correct(self) -> None:
        steps = None if self._is_idle else self._read()
        if steps is None:
            return
        expected, begin = self._batches // self._accumulation, self._begin // self._accumulation
        if steps == begin != expected:
            self._is_idle = True
        elif steps != expected:
            self._batches = steps * self._accumulation

    def _read(self) -> int | None:
        assert self._callback.model is not None
        iterations = getattr(self._optimizer, "iterations", None)
        return None if iterations is None else int(keras.ops.convert_to_numpy(iterations))

    def _settle(self) -> None:
        self.step = self._offset + self._batches // self._accumulation


_OWN = (keras.Model.train_step, keras.Sequential.train_step)
