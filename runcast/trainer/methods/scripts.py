"""The methods of a Trainer that scripts call, as in transformers."""

import inspect
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from runcast.callbacks.host import open_runs
from runcast.callbacks.hub import PushToHubCallback
from runcast.callbacks.hub.card import model_card
from runcast.core.errors import OptionError
from runcast.trainer.data.loader import length_of
from runcast.trainer.methods.evaluations import EvaluationMethods
from runcast.trainer.methods.search import BestRun, search
from runcast.trainer.settings.unknown import refuse_unknown
from runcast.values.numbers import as_json

Methods = TypeVar("Methods", bound="ScriptMethods")


class ScriptMethods(EvaluationMethods):
    """The methods of a Trainer that no loop calls."""

    model_init: Callable[..., nn.Module] | None

    def __new__(cls: type[Methods], *_: Any, **parts: Any) -> Methods:
        """Refuse arguments that do not exist, with what to use instead."""
        refuse_unknown(cls, parts, "argument")
        return object.__new__(cls)

    # Metrics and state

    def is_world_process_zero(self) -> bool:
        """Return whether this is the first process of the job."""
        return self.ranks.rank == 0

    def is_local_process_zero(self) -> bool:
        """Return whether this is the first process of its machine."""
        return self.ranks.local_rank == 0

    def metrics_format(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Make metrics readable: times as h:mm:ss, operations in billions, four digits."""

        def readable(name: str, value: Any) -> Any:
            if "_runtime" in name:
                return f"{timedelta(seconds=int(value))}.{int(100 * (value % 1)):02}"
            if name == "total_flos":
                return f"{int(value) >> 30}GF"
            return round(value, 4) if isinstance(value, float) else value

        return {name: readable(name, value) for name, value in metrics.items()}

    def log_metrics(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Print metrics in columns, in the first process."""
        if self.is_world_process_zero():
            told = self.metrics_format(metrics)
            names, values = max(map(len, told), default=0), max((len(str(v)) for v in told.values()), default=0)
            lines = (f"  {name:<{names}} = {told[name]!s:>{values}}" for name in sorted(told))
            print(f"***** {split} metrics *****", *lines, sep="\n")  # noqa: T201 - what it is for

    def save_metrics(self, split: str, metrics: Mapping[str, Any], combined: bool = True) -> None:
        """Write metrics to <split>_results.json, and with those of the other splits to all_results.json."""
        if not self.is_world_process_zero():
            return
        folder = Path(self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        every = folder / "all_results.json"
        earlier = json.loads(every.read_text(encoding="utf-8")) if combined and every.is_file() else {}
        files = {
            folder / f"{split}_results.json": dict(metrics),
            **({every: {**earlier, **metrics}} if combined else {}),
        }
        for path, content in files.items():
            path.write_text(json.dumps(as_json(content), indent=4, sort_keys=True), encoding="utf-8")

    def save_state(self) -> None:
        """Write trainer_state.json to the output folder."""
        if self.is_world_process_zero():
            Path(self.args.output_dir).mkdir(parents=True, exist_ok=True)
            self.state.save_to_json(Path(self.args.output_dir) / "trainer_state.json")

    # Model, optimizer, data

    @property
    def model_wrapped(self) -> nn.Module:
        """The model as a training calls it: sharded, under DDP, compiled."""
        return self.engine.wrapped

    def get_num_trainable_parameters(self) -> int:
        """Count the numbers that are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def get_learning_rates(self) -> list[float]:
        """List the learning rate of each group of parameters."""
        return [float(group["lr"]) for group in self._groups()]

    def get_optimizer_group(self, param: Any = None) -> Any:
        """Return the group that a parameter is in; by default, the parameters of each group."""
        if param is None:
            return [group["params"] for group in self._groups()]
        return next((group for group in self._groups() if any(each is param for each in group["params"])), None)

    def num_examples(self, dataloader: Any) -> int:
        """Count the examples of a loader."""
        try:
            return len(getattr(dataloader.dataset, "source", dataloader.dataset))
        except (AttributeError, TypeError):
            return (length_of(dataloader) or 0) * self.args.per_device_train_batch_size

    def _groups(self) -> list[dict[str, Any]]:
        if self.optimizer is None:
            raise OptionError("There is no optimizer before train(). Call create_optimizer().")
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups

    # The hub

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        **card: Any,
    ) -> str:
        """Push the model, with a card, as one commit; return its address. All processes call it.

        `card` has the metadata that `create_model_card` takes.
        """
        ready = (one for one in self.callback_handler.callbacks if isinstance(one, PushToHubCallback))
        hub = next(ready, None) or PushToHubCallback(save_strategy="end", hub_token=token)
        about = {**self.callback_handler.context, "message": commit_message, "revision": revision, "card": card}
        return hub.push(self.args, self.state, self.control, about, blocking=blocking)

    def create_model_card(self, **card: Any) -> None:
        """Write README.md to the output folder: metrics, settings, and links to the run.

        language, license, tags, model_name, finetuned_from, tasks and dataset_tags go into its head.
        """
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            runs = open_runs(None, self.callback_handler)
            text = model_card(folder.name, self.args, self.state, self.model, runs, card)
            (folder / "README.md").write_text(text, encoding="utf-8")

    # A search

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Make a new model by `model_init`, which is given the trial if it takes one."""
        if self.model_init is None:
            raise OptionError("There is no model_init. Give the Trainer one: Trainer(model_init=function, ...).")
        takes_trial = len(inspect.signature(self.model_init).parameters) > 0
        model: nn.Module = self.model_init(trial) if takes_trial else self.model_init()
        return model

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], Any] | None = None,
        n_trials: int = 20,
        direction: str | list[str] = "minimize",
        backend: Any = None,
        hp_name: Callable[[Any], str] | None = None,
        **kwargs: Any,
    ) -> BestRun | list[BestRun]:
        """Train a new model for each trial of optuna, and return the best run; see `search.search`."""
        if backend not in (None, "optuna"):
            raise OptionError(f"backend={backend!r} is not supported. Use 'optuna'.")
        return search(self, hp_space, compute_objective, n_trials, direction, hp_name, kwargs)
