"""The loop of a training, with every event at its place: forward, backward, clip, step, schedule, zero_grad."""

import logging
from collections.abc import Callable
from typing import Any

from runcast.core.errors import OptionError
from runcast.core.events import SWITCHES, TrainerControl
from runcast.trainer.checkpoints.checkpoints import Checkpoints
from runcast.trainer.checkpoints.saving import Saving
from runcast.trainer.model.items import weighted
from runcast.trainer.termination import Leaving, TerminationCallback
from runcast.trainer.training import Training

_log = logging.getLogger("runcast.trainer")


class TrainingLoop:
    """Epochs of optimizer steps of batches: the parts of a training compute, the loop says when.

    Args:
        training: The parts.
        control: The switches that the callbacks set.
        event: Calls the callbacks.
        log: Logs values.
        evaluate: Evaluates, and returns the metrics.
        checkpoints: Knows which evaluation is the best, and where it was saved.
        saving: Writes checkpoints.
        termination: Knows whether this process has received SIGTERM; None if it has no handler.
    """

    def __init__(
        self,
        training: Training,
        control: TrainerControl,
        *,
        event: Callable[..., None],
        log: Callable[[dict[str, Any]], None],
        evaluate: Callable[[], dict[str, Any]],
        checkpoints: Checkpoints,
        saving: Saving,
        termination: TerminationCallback | None = None,
    ) -> None:
        self._training, self._control = training, control
        self._event, self._log, self._evaluate, self._saving = event, log, evaluate, saving
        self._checkpoints, self._termination = checkpoints, termination
        self._ranks = training.engine.ranks
        self._is_alone = self._ranks.size == 1 and termination is None
        self._must_leave = False

    def run(self) -> dict[str, Any]:
        """Train; return the summary of the training.

        Raises:
            Leaving: SIGTERM came to a process of the job.
        """
        training, control, event = self._training, self._control, self._event
        engine, data, optimization, meter = training.engine, training.data, training.optimization, training.meter
        was_cut = is_starved = False

        event("on_train_begin")
        if training.args.eval_on_start and training.is_fresh:
            self._evaluate()
        for epoch in range(training.first_epoch, training.epochs):
            data.begin(epoch)
            event("on_epoch_begin")
            for hosts, batches in data.steps():
                event("on_step_begin")
                engine.keep_training()
                optimization.set_mode("train")
                weights = training.loss_weights(hosts)
                for batch, (weight, is_last) in zip(batches, weights, strict=True):
                    loss, labels = engine.forward(batch, syncs=is_last)
                    if weight is not None:
                        loss, labels = weighted(loss, weight), None
                    engine.backward(loss)
                    meter.add(loss, labels)
                    if not is_last:
                        event("on_substep_end")
                optimization.clip_gradients()
                event("on_pre_optimizer_step")
                optimization.step()
                event("on_optimizer_step")
                optimization.schedule()
                optimization.zero_grad()
                training.advance(len(hosts))
                event("on_step_end")
                self.log_evaluate_save()
                if control.should_epoch_stop or control.should_training_stop:
                    break
            is_starved, was_cut = data.end(), was_cut or control.should_epoch_stop
            event("on_epoch_end")
            self.log_evaluate_save()
            if control.should_training_stop or is_starved:
                break
        if not (was_cut or control.should_training_stop):
            self._check_end()
        self._announce_save(waits=True)
        metrics = self._finish()  # the last log, the best weights
        event("on_train_end")
        self.agree()
        if self._must_leave:
            raise Leaving
        return metrics

    def log_evaluate_save(self) -> None:
        """Do what the callbacks requested, in this process or in another of the job."""
        training, control = self._training, self._control
        if not self._is_alone:
            self.agree()
        if control.should_log and training.meter.has_new_steps(training.state.global_step):
            self._log(training.metrics_since_log())  # on_log
            control.should_log = False
            self.agree()
        self._announce_save(waits=control.should_evaluate or control.should_save)
        if self._must_leave:
            raise Leaving
        if not (control.should_evaluate or control.should_save):
            return
        with training.meter.paused():
            if control.should_evaluate:
                metrics = self._evaluate()  # on_evaluate_begin, on_prediction_step, on_log, on_evaluate
                training.optimization.note_evaluation(metrics)
                control.should_save |= self._checkpoints.note_if_best(training.state, metrics)
                control.should_evaluate = False
                self.agree()
            if control.should_save:
                self._saving.save()  # on_save; later, where it is written in the background
        self.agree()
        if self._must_leave:
            raise Leaving

    def _announce_save(self, *, waits: bool) -> None:
        """Announce the checkpoint that is written in the background, if it is on disk in every process, or wait."""
        if self._saving.is_pending and (waits or not self._ranks.any([self._saving.is_writing])[0]):
            with self._training.meter.paused():
                self._saving.wait()
            self.agree()

    def agree(self) -> None:
        """Make what the callbacks of any process have decided, and SIGTERM to any, the decision of all."""
        if not self._is_alone:
            control, is_asked = self._control, self._termination is not None and self._termination.is_asked
            answers = self._ranks.any([*(getattr(control, name) for name in SWITCHES), is_asked])
            *switches, self._must_leave = answers
            vars(control).update(zip(SWITCHES, switches, strict=True))

    def _check_end(self) -> None:
        """Say that the data ended early.

        Raises:
            OptionError: It had no batch at all.
        """
        step, max_steps = self._training.state.global_step, self._training.max_steps
        if step == 0 < max_steps:
            raise OptionError("The train dataset has no batch: it is empty, or a generator that was read already.")
        if step < max_steps and self._ranks.rank == 0:
            _log.warning(
                "The data ended at step %d of %d. A generator can be read only once, and a dataset may have fewer "
                "examples than its length says: pass an object whose __iter__ restarts, or a list.",
                step,
                max_steps,
            )

    def _finish(self) -> dict[str, Any]:
        """Log the summary of the training, with the steps since the last log; load the best weights if requested."""
        training, args = self._training, self._training.args
        has_rest = training.meter.has_new_steps(training.state.global_step) and args.logging_strategy != "no"
        rest = training.metrics_since_log() if has_rest else {}
        metrics = training.summary()
        self._log({**rest, **metrics})
        metrics["epoch"] = training.state.epoch
        training.optimization.set_mode("eval")
        if args.load_best_model_at_end:
            self._checkpoints.load_best(training.state, training.engine.model)
        return metrics
