"""When to log, evaluate, save and stop, as the arguments say.

The Trainer always has this callback, before all others.
"""

from typing import Any

from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState


class DefaultFlowCallback(TrainerCallback):
    """The switches of `control`, set as the strategies and intervals of the arguments say."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Look whether this step is one to log, evaluate or save at, or the last one."""
        step = state.global_step
        last = step >= state.max_steps
        if (step == 1 and args.logging_first_step) or (
            args.logging_strategy == "steps" and step % state.logging_steps == 0
        ):
            control.should_log = True
        if args.eval_strategy == "steps" and (last or step % state.eval_steps == 0) and step >= args.eval_delay:
            control.should_evaluate = True
        if args.save_strategy == "steps" and (last or (state.save_steps > 0 and step % state.save_steps == 0)):
            control.should_save = True
        if last:
            control.should_training_stop = True
        return control

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Set the switches at the end of an epoch."""
        if args.logging_strategy == "epoch":
            control.should_log = True
        if args.eval_strategy == "epoch" and state.epoch >= args.eval_delay:
            control.should_evaluate = True
        if args.save_strategy == "epoch":
            control.should_save = True
        return control
