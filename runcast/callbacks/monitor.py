"""Which metric a callback watches, and whether a value of it is better than another."""

import math
from collections.abc import Mapping
from typing import Any

from runcast.core.errors import OptionError


class Monitor:
    """Watches one metric.

    The one that is named, else the arguments' metric_for_best_model, else the loss of the evaluation.

    The direction is the one that is given, else the arguments', else it follows from the name: a loss or an error is
    better when it is smaller. An improvement of less than `threshold` is none.
    """

    def __init__(
        self, metric: str | None = None, greater_is_better: bool | None = None, threshold: float = 0.0
    ) -> None:
        self.metric = metric
        self.greater_is_better = greater_is_better
        self.threshold = threshold

    def name(self, args: Any) -> str:
        """Settle the metric's name, as the evaluation reports it."""
        name: str = self.metric or getattr(args, "metric_for_best_model", None) or "loss"
        return name if name.startswith(("eval_", "test_", "train_")) or "/" in name else f"eval_{name}"

    def value(self, args: Any, metrics: Mapping[str, Any]) -> float:
        """Find the metric's value.

        Raises:
            OptionError: The evaluation does not report it.
        """
        for name in (self.name(args), self.metric):
            if name is not None and name in metrics:
                return float(metrics[name])
        raise OptionError(
            f"The metric {self.name(args)!r} is not reported. The evaluation has: {', '.join(sorted(metrics))}."
        )

    def concerns(self, args: Any, metrics: Mapping[str, Any]) -> bool:
        """Tell whether an evaluation is the one to look at, where several datasets are evaluated by name.

        An evaluation of another dataset has another prefix than the metric.
        """
        name = self.name(args)
        prefix = next((key.removesuffix("runtime") for key in metrics if key.endswith("_runtime")), "")
        return name in metrics or self.metric in metrics or name.startswith(prefix)

    def is_better(self, args: Any, value: float, best: float | None) -> bool:
        """Tell whether a value improves on the best one; NaN never does."""
        if math.isnan(value):
            return False
        if best is None:
            return True
        gain = value - best if self.wants_more(args) else best - value
        return gain > self.threshold

    def is_worse_than(self, args: Any, value: float, limit: float) -> bool:
        """Tell whether a value is on the wrong side of a limit."""
        return value < limit if self.wants_more(args) else value > limit

    def wants_more(self, args: Any) -> bool:
        """Tell whether greater values are better."""
        if self.greater_is_better is not None:
            return self.greater_is_better
        if self.metric is None and (theirs := getattr(args, "greater_is_better", None)) is not None:
            return bool(theirs)
        return not self.name(args).endswith(("loss", "error", "perplexity"))


def needs_evaluation(args: Any, callback: str) -> None:
    """Raise OptionError if nothing is ever evaluated."""
    if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
        raise OptionError(
            f"{callback} watches a metric of the evaluation, but eval_strategy is 'no'. Set it to 'steps' or 'epoch'."
        )
