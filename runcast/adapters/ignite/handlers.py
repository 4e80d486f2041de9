"""The handlers that a logger is attached with: what they log of an engine, an optimizer or a model."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from ignite.engine import Engine
from ignite.handlers.base_logger import (
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsHandler,
    BaseWeightsScalarHandler,
)

from runcast.run.ranks import rank
from runcast.values.media.kinds import Histogram


class OutputHandler(BaseOutputHandler):  # type: ignore[misc]
    """A handler that logs the metrics, the output or attributes of an engine's state, under `tag/`.

    The arguments are those of Ignite's own. Without a `global_step_transform` the step is what the event counts: the
    iteration or the epoch of the engine.
    """

    def __call__(self, engine: Engine, logger: Any, event_name: Any) -> None:
        """Log the values of now."""
        run = logger.run
        if rank() != 0:
            return
        values: dict[str, Any] = {}
        if self.metric_names is not None:
            names = list(engine.state.metrics) if self.metric_names == "all" else self.metric_names
            values |= {name: engine.state.metrics.get(name) for name in names}
        if self.output_transform is not None:
            output = self.output_transform(engine.state.output)
            values |= output if isinstance(output, Mapping) else {"output": output}
        values |= {name: getattr(engine.state, name, None) for name in self.state_attributes or ()}
        run.log(dict(_spread(values, self.tag)), step=self.global_step_transform(engine, event_name))


class OptimizerParamsHandler(BaseOptimizerParamsHandler):  # type: ignore[misc]
    """A handler that logs a parameter of each group of an optimizer: `lr/group_0` … under `tag/`."""

    def __call__(self, engine: Engine, logger: Any, event_name: Any) -> None:
        """Log the parameters of now."""
        if rank() == 0:
            values = {f"group_{n}": group[self.param_name] for n, group in enumerate(self.optimizer.param_groups)}
            name = f"{self.tag}/{self.param_name}" if self.tag else self.param_name
            logger.run.log({name: values}, step=engine.state.get_event_attrib_value(event_name))


class WeightsScalarHandler(BaseWeightsScalarHandler):  # type: ignore[misc]
    """A handler that logs one number per weight, by default its norm: `weights_norm/layer/weight` … under `tag/`."""

    of = "weights"

    def __call__(self, engine: Engine, logger: Any, event_name: Any) -> None:
        """Log the numbers of now."""
        if rank() == 0:
            folder = f"{self.of}_{getattr(self.reduction, '__name__', 'reduced')}"
            values = {name.replace(".", "/"): self._number(weight) for name, weight in self.weights}
            name = f"{self.tag}/{folder}" if self.tag else folder
            logger.run.log(
                {name: {key: value for key, value in values.items() if value is not None}},
                step=engine.state.get_event_attrib_value(event_name),
            )

    def _number(self, weight: torch.Tensor) -> Any:
        return self.reduction(weight.detach())


class GradsScalarHandler(WeightsScalarHandler):
    """A handler that logs one number per gradient, by default its norm: `grads_norm/layer/weight` … under `tag/`."""

    of = "grads"

    def _number(self, weight: torch.Tensor) -> Any:
        return None if weight.grad is None else self.reduction(weight.grad)


class WeightsHistHandler(BaseWeightsHandler):  # type: ignore[misc]
    """A handler that logs a histogram of each weight: `weights/layer/weight` … under `tag/`."""

    of = "weights"

    def __call__(self, engine: Engine, logger: Any, event_name: Any) -> None:
        """Log the weights of now."""
        if rank() == 0:
            name = f"{self.tag}/{self.of}" if self.tag else self.of
            found = {key.replace(".", "/"): self._values(weight) for key, weight in self.weights}
            logger.run.log(
                {name: {key: Histogram(values) for key, values in found.items() if values is not None}},
                step=engine.state.get_event_attrib_value(event_name),
            )

    def _values(self, weight: torch.Tensor) -> torch.Tensor | None:
        return weight.detach()


class GradsHistHandler(WeightsHistHandler):
    """A handler that logs a histogram of each gradient: `grads/layer/weight` … under `tag/`."""

    of = "grads"

    def _values(self, weight: torch.Tensor) -> torch.Tensor | None:
        return weight.grad


def _spread(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the numbers of nested mappings, sequences and 1-d tensors under their joined names."""
    for key, value in values.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _spread(value, name)
        elif isinstance(value, tuple | list) or (isinstance(value, torch.Tensor) and value.ndim == 1):
            yield from _spread({str(index): item for index, item in enumerate(value)}, name)
        else:
            yield name, value
