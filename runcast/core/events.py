"""The events of a training: their names, their arguments, and what a callback may decide.

The loop, with each event at its place:

    on_init_end                                   Trainer(...)
    train():
        on_checkpoint_load                        only when it resumes
        on_train_begin
        for epoch in epochs:
            on_epoch_begin
            for batches in epoch:                 one optimizer step
                on_step_begin
                for batch in batches:             gradient accumulation
                    forward, backward
                    on_substep_end                not after the last one
                clip gradients
                on_pre_optimizer_step
                optimizer.step
                on_optimizer_step
                schedule the learning rate, zero the gradients
                on_step_end
                log, evaluate, save
            on_epoch_end
            log, evaluate, save
        on_train_end
    log, evaluate, save:                          each only if `control` says so
        log()
        evaluate()
        on_save                                   when the checkpoint is on disk; with async_save, at a later step
    log():
        on_log
    evaluate():
        on_evaluate_begin
        for batch in batches:
            on_prediction_step
        log()
        on_evaluate
    predict():
        on_predict_begin
        for batch in batches:
            on_prediction_step
        on_predict
    export():
        on_export_begin
        on_export_end
    and around each call of train, evaluate, predict and export that is not inside another:
        on_exception                              it raised; the exception then propagates
        teardown                                  always, and last
    and wherever `PushToHubCallback` pushes:
        on_push_begin

The first sixteen in `EVENTS` have the names, the places and the arguments `(args, state, control, **kwargs)` of
`transformers.TrainerCallback`.
"""

import json
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

EVENTS = (
    "on_init_end",
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_step_begin",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_substep_end",
    "on_step_end",
    "on_evaluate",
    "on_predict",
    "on_save",
    "on_log",
    "on_prediction_step",
    "on_push_begin",
    "on_evaluate_begin",
    "on_predict_begin",
    "on_export_begin",
    "on_export_end",
    "on_checkpoint_load",
    "on_exception",
    "teardown",
)


@dataclass
class TrainerControl:
    """The switches that a callback may set; the loop resets each one after acting on it."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False

    def state(self) -> dict[str, Any]:
        """Return the switches as transformers keeps the state of a callback."""
        return {"args": dict(vars(self)), "attributes": {}}

    def _new_training(self) -> None:
        self.should_training_stop = False

    def _new_epoch(self) -> None:
        self.should_epoch_stop = False

    def _new_step(self) -> None:
        self.should_save = self.should_evaluate = self.should_log = False


SWITCHES = tuple(switch.name for switch in fields(TrainerControl))


@dataclass
class TrainerState:
    """The progress of a training, with the fields and the file format of transformers.

    `global_step` counts optimizer steps; `epoch` has a fraction inside an epoch; `log_history` holds what was logged,
    with its step.
    """

    epoch: float = 0.0
    global_step: int = 0
    max_steps: int = 0
    logging_steps: int = 500
    eval_steps: int = 500
    save_steps: int = 500
    train_batch_size: int | None = None
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    total_flos: float = 0
    log_history: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False
    trial_name: str | None = None
    trial_params: dict[str, Any] | None = None
    stateful_callbacks: dict[str, Any] = field(default_factory=dict)

    def compute_steps(self, args: Any, max_steps: int) -> None:
        """Compute the intervals of logging, evaluation and saving; a value below 1 is a share of all steps."""
        for kind in ("logging", "eval", "save"):
            steps = getattr(args, f"{kind}_steps")
            if steps is not None:
                setattr(self, f"{kind}_steps", math.ceil(max_steps * steps) if steps < 1 else int(steps))

    def save_to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the state as JSON; numbers of other libraries become Python numbers, anything else becomes text."""
        text = json.dumps(vars(self), default=_plain, indent=2, sort_keys=True)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load_from_json(cls, path: str | os.PathLike[str]) -> "TrainerState":
        """Read a state written by us or by transformers; unknown fields are ignored."""
        known = {field.name for field in fields(cls)}
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(**{name: value for name, value in values.items() if name in known})


def _plain(value: Any) -> Any:
    if getattr(value, "size", None) == 1 or (hasattr(value, "numel") and value.numel() == 1):
        return value.item()
    return value.tolist() if hasattr(value, "tolist") else str(value)


Control: TypeAlias = TrainerControl | None


class TrainerCallback:
    """A reaction to events. Override what you need; other hooks are never called.

    Each hook is given the arguments, the state and the control, and by keyword `model`, `processing_class`,
    `optimizer`, `lr_scheduler`, `train_dataloader`, `eval_dataloader` and the hook's own arguments. Our Trainer also
    passes `callback_handler`, which knows the other callbacks. A hook may change `control`, and returns it or None.

    A callback with `reports = True` only reports: if it raises, it is disabled and the training continues. An exception
    from any other callback ends the training, unchanged but for a note that names the callback and the hook.

    A callback with a method `state`, which returns `{"args": {...}, "attributes": {...}}`, is stateful: both are saved
    in each checkpoint, and set when the training resumes.
    """

    reports: bool = False

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when the Trainer has been constructed."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when everything is ready, before the first epoch."""

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when the training is over, after its last log."""

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when an epoch begins."""

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when an epoch is over, before its log, evaluation and save."""

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when an optimizer step begins: before its first forward pass."""

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when the gradients are complete and clipped, before the optimizer uses them."""

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when the optimizer has changed the weights; the gradients are still there."""

    def on_substep_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when a batch has been accumulated and the optimizer step needs more of them."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when an optimizer step is over; `state.global_step` already counts it."""

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, *, metrics: dict[str, Any], **kwargs: Any
    ) -> Control:
        """Called when an evaluation is over, with its metrics."""

    def on_predict(
        self, args: Any, state: TrainerState, control: TrainerControl, *, metrics: dict[str, Any], **kwargs: Any
    ) -> Control:
        """Called when a prediction is over, with its metrics."""

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when a checkpoint is on disk, in `args.output_dir/checkpoint-<global_step>`, with its own `state`."""

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, *, logs: dict[str, Any], **kwargs: Any
    ) -> Control:
        """Called when values are logged, at `state.global_step`."""

    def on_prediction_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when a batch has been evaluated or predicted."""

    def on_push_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when the model is about to be pushed to a hub."""

    def on_evaluate_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when an evaluation begins."""

    def on_predict_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called when a prediction begins."""

    def on_export_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, *, path: Path, format: str, **kwargs: Any
    ) -> Control:
        """Called when an export of the model begins."""

    def on_export_end(
        self, args: Any, state: TrainerState, control: TrainerControl, *, path: Path, format: str, **kwargs: Any
    ) -> Control:
        """Called when the exported model is on disk."""

    def on_checkpoint_load(
        self, args: Any, state: TrainerState, control: TrainerControl, *, checkpoint: Path, **kwargs: Any
    ) -> Control:
        """Called when a checkpoint has been loaded to resume from, before on_train_begin."""

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, *, exception: BaseException, **kwargs: Any
    ) -> Control:
        """Called when the training, evaluation, prediction or export has raised; the exception then propagates."""

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Called last, whatever happened, to release resources."""
