"""Which metric a callback watches, and whether a value of it is better than another."""

import math
from collections.abc import Mapping
from typing import Any

from runcast.core.errors import OptionError
from runcast.values.numbers import NotANumber, leaves, to_number


class Monitor:
    """One metric of the evaluation, and what counts as an improvement of it.

    The one that is named, else the arguments' metric_for_best_model, else the loss. The prefix "eval_" may be left out.

    The direction is the one that is given, else the arguments', else it follows from the name: a loss or an error is
    better when it is smaller. An improvement of less than `threshold` is none, and neither is NaN or an infinity.
    """

    def __init__(
        self, metric: str | None = None, greater_is_better: bool | None = None, threshold: float = 0.0
    ) -> None:
        self.metric = metric
        self.greater_is_better = greater_is_better
        self.threshold = threshold
        self._prefix: str | None = None  # of the evaluation that reports it, once one has
        self._others: dict[str, list[str]] = {}  # the metrics of other datasets, by their prefix

    def name(self, args: Any) -> str:
        """Return the metric's name, as the evaluation reports it."""
        name = self.wanted(args)
        return name if name.startswith(("eval_", "test_", "train_")) or "/" in name else f"eval_{name}"

    def wanted(self, args: Any) -> str:
        """Return the metric's name as the user has it."""
        return self.metric or getattr(args, "metric_for_best_model", None) or "loss"

    def concerns(self, args: Any, metrics: Mapping[str, Any]) -> bool:
        """Tell whether an evaluation is the one to look at, where several datasets are evaluated by name.

        Whether `eval_val_ood_loss` is the loss of a dataset `val_ood` or the ood_loss of a dataset `val` is not known
        before all of them were evaluated: when the first one comes again.

        Raises:
            OptionError: No evaluation reports the metric.
        """
        wanted = self.wanted(args)
        prefix = next((key.removesuffix("runtime") for key in metrics if key.endswith("_runtime")), "eval_")
        if reported(wanted, metrics) is not None:
            self._prefix = prefix
        if self._prefix is not None:
            return prefix == self._prefix  # where it is missing this time, it has not improved
        if not (wanted if wanted.startswith("eval_") else f"eval_{wanted}").startswith(prefix):
            return False
        if prefix == "eval_" or prefix in self._others:
            seen = sorted({*metrics, *(key for keys in self._others.values() for key in keys)})
            raise OptionError(f"The metric {self.name(args)!r} is not reported. The evaluation has: {', '.join(seen)}.")
        self._others[prefix] = list(metrics)
        return False

    def value(self, args: Any, metrics: Mapping[str, Any]) -> float | None:
        """Return the metric's value; None where it is missing or not a number."""
        key = reported(self.wanted(args), metrics)
        return None if key is None else number(metrics, key)

    def is_better(self, args: Any, value: float | None, best: float | None) -> bool:
        """Tell whether a value improves on the best one. What is not a finite number never does, and is never best."""
        if value is None or not math.isfinite(value):
            return False
        if best is None or not math.isfinite(best):
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


def reported(name: str, metrics: Mapping[str, Any]) -> str | None:
    """Find a metric among those of an evaluation, and return the name that it has there; "eval_" may be left out.

    A value of a nested dict goes by its joined keys, as in a tracker: `eval_per_class/cat`.
    """
    names = (name, f"eval_{name}") if name.startswith("eval_") else (f"eval_{name}", name)
    found = metrics if any(one in metrics for one in names) else dict(leaves(metrics))
    return next((one for one in names if one in found), None)


def number(metrics: Mapping[str, Any], key: str) -> float | None:
    """Return the value of a reported metric as a float; None if it is not a number."""
    try:
        return float(to_number(metrics[key] if key in metrics else dict(leaves(metrics))[key]))
    except NotANumber:
        return None


def needs_evaluation(args: Any, callback: str) -> None:
    """Raise OptionError if nothing is ever evaluated."""
    if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
        raise OptionError(
            f"{callback} watches a metric of the evaluation, but eval_strategy is 'no'. Set it to 'steps' or 'epoch'."
        )
