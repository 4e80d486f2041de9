"""The training loop, whole: every event is called here or in the method named beside it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer
    from runcast.trainer.training import Training


def train_loop(trainer: "Trainer", training: "Training") -> None:
    """Train: epochs of optimizer steps of batches. `training` computes; this loop says when."""
    event, args = trainer.event, trainer.args

    event("on_train_begin")
    if args.eval_on_start and training.is_fresh:
        trainer.evaluate()
    for epoch in range(training.first_epoch, training.epochs):
        training.begin_epoch(epoch)
        event("on_epoch_begin")
        for batches in training.steps_of_epoch():
            event("on_step_begin")
            for left, (batch, share) in enumerate(training.shares(batches), 1 - len(batches)):
                training.forward_backward(batch, share, more_to_come=left < 0)
                if left < 0:
                    event("on_substep_end")
            training.clip_gradients()
            event("on_pre_optimizer_step")
            training.optimizer_step()
            event("on_optimizer_step")
            training.advance(len(batches))
            event("on_step_end")
            log_evaluate_save(trainer, training)
            if trainer.control.should_epoch_stop or trainer.control.should_training_stop:
                break
        training.end_epoch()
        event("on_epoch_end")
        log_evaluate_save(trainer, training)
        if trainer.control.should_training_stop or training.is_starved:
            break
    training.finish()  # the last log, the best weights
    event("on_train_end")


def log_evaluate_save(trainer: "Trainer", training: "Training") -> None:
    """Do what the callbacks asked for, in this process or in another of the job."""
    trainer.agree()
    if trainer.control.should_log and training.has_news:
        trainer.is_due = True
        trainer.log(training.news())  # on_log
        trainer.control.should_log = trainer.is_due = False  # here, too: an overridden `log` may be without its event
        trainer.agree()
    trainer.leave_if_told()
    if not (trainer.control.should_evaluate or trainer.control.should_save):
        return
    with training.throughput.paused():
        if trainer.control.should_evaluate:
            trainer.is_due = True
            training.judge(trainer.evaluate())  # on_evaluate_begin, on_prediction_step, on_log, on_evaluate
            trainer.control.should_evaluate = trainer.is_due = False
            trainer.agree()
        if trainer.control.should_save and trainer.keeper.save(training):
            trainer.event("on_save")
    trainer.agree()
    trainer.leave_if_told()
