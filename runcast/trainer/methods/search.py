"""A search for hyper-parameters with optuna: each trial trains a new model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from runcast.core.errors import OptionError
from runcast.core.events import TrainerState
from runcast.trainer.settings.arguments import TrainingArguments


class BestRun(NamedTuple):
    """The best trial of a search."""

    run_id: str
    objective: Any
    hyperparameters: dict[str, Any]
    run_summary: Any = None


class Trial:
    """One trial of a search: its settings, its name, and what it reports of each evaluation."""

    def __init__(self, trial: Any, params: dict[str, Any], name: str | None, objective: Callable[..., Any]) -> None:
        self.trial, self.params, self.name, self._compute = trial, params, name, objective
        self.objective: Any = None

    def apply(self, args: TrainingArguments, root: str) -> None:
        """Put its settings into the arguments; its checkpoints go to a folder of its own."""
        for name, value in self.params.items():
            if not hasattr(args, name):
                raise OptionError(f"hp_space returned {name!r}, which is no setting of TrainingArguments.")
            setattr(args, name, value)
        args.output_dir = str(Path(root) / (self.name or f"run-{self.trial.number}"))

    def about(self) -> dict[str, Any]:
        """Return what the state of a training says of it."""
        return {"is_hyper_param_search": True, "trial_name": self.name, "trial_params": dict(self.params)}

    def noting(self, evaluate: Callable[[], dict[str, Any]], state: TrainerState) -> Callable[[], dict[str, Any]]:
        """Return an evaluation that also reports to the study."""

        def evaluate_and_note() -> dict[str, Any]:
            metrics = evaluate()
            self.note(metrics, state.global_step)
            return metrics

        return evaluate_and_note

    def note(self, metrics: dict[str, float], step: int) -> None:
        """Report an evaluation.

        Raises:
            optuna.TrialPruned: The trial is not worth going on.
        """
        self.objective = self._compute(dict(metrics))
        if isinstance(self.objective, int | float):
            self.trial.report(self.objective, step)
            if self.trial.should_prune():
                import optuna

                raise optuna.TrialPruned


def search(
    trainer: Any,
    space: Callable[[Any], dict[str, Any]] | None,
    objective: Callable[[dict[str, float]], Any] | None,
    count: int,
    direction: str | list[str],
    name: Callable[[Any], str] | None,
    options: dict[str, Any],
) -> BestRun | list[BestRun]:
    """Train once for each trial, and return the best one, or, with several directions, all that none beats.

    Args:
        trainer: Has a `model_init`.
        space: Returns the settings of a trial.
        objective: Computes what to optimize from the metrics of an evaluation: by default the loss, or the sum of the
            other metrics if there are some.
        count: The number of trials.
        direction: "minimize" or "maximize"; several, if the objective has several values.
        name: Returns the name of a trial's run.
        options: What goes to `optuna.create_study`; timeout, n_jobs and gc_after_trial go to `optimize`.

    Raises:
        OptionError: There is no model_init, optuna is not installed, or there are several processes.
    """
    if trainer.model_init is None or trainer.ranks.size > 1:
        raise OptionError("A search needs Trainer(model_init=function), in a single process.")
    try:
        import optuna
    except ImportError:
        raise OptionError("A search needs optuna. Install it with: pip install optuna") from None
    space, objective, root = space or _space, objective or _objective, trainer.args.output_dir
    of_run = {key: options.pop(key) for key in ("timeout", "n_jobs", "gc_after_trial") if key in options}

    def run(trial: Any) -> Any:
        one = Trial(trial, space(trial), name and name(trial), objective)
        one.apply(trainer.args, root)
        trainer.train(trial=one)
        if one.objective is None:
            one.objective = objective(dict(trainer.evaluate()))
        return one.objective

    several = not isinstance(direction, str)
    study = optuna.create_study(**{"directions" if several else "direction": direction, **options})
    try:
        study.optimize(run, n_trials=count, **of_run)
    finally:
        trainer.args.output_dir = root
    best = study.best_trials if several else [study.best_trial]
    runs = [BestRun(str(one.number), one.values if several else one.value, one.params) for one in best]
    return runs if several else runs[0]


def _space(trial: Any) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "num_train_epochs": trial.suggest_int("num_train_epochs", 1, 5),
        "seed": trial.suggest_int("seed", 1, 40),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [4, 8, 16, 32, 64]),
    }


def _objective(metrics: dict[str, float]) -> float:
    left_out = ("epoch", "_runtime", "_per_second", "num_input_tokens_seen")
    own = {name: value for name, value in metrics.items() if not name.endswith(left_out) and name != "eval_loss"}
    return sum(own.values()) if own else metrics["eval_loss"]
