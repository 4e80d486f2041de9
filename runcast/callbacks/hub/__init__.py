"""Pushes the model to the Hugging Face Hub while it is trained."""

import os
import shutil
from pathlib import Path
from typing import Any, Literal

from runcast.callbacks.host import is_transformers, open_runs
from runcast.callbacks.hub.card import model_card
from runcast.callbacks.hub.upload import Uploads, check_settings
from runcast.callbacks.reporting.kept_checkpoints import checkpoint_of
from runcast.callbacks.weights import is_sharded, weights_in, whole_weights, write_model
from runcast.core.errors import OptionError
from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState
from runcast.integrations.files import link_file
from runcast.journal.paths import absolute
from runcast.redaction.console import warn

STRATEGIES = ("epoch", "steps", "end", "save")
STAGES = ".push"
INTERRUPTED_S = 10.0  # who ends a training by hand or by SIGTERM does not want to wait for long


class PushToHubCallback(TrainerCallback):
    """A callback that pushes weights, configuration, tokenizer and a model card, each time as one commit.

    The model is written to a folder of its own; a child process uploads it while training continues. Where uploads
    are slower than saves, the newest save wins. At the end the training waits for the last one, up to
    `finish_timeout_s`. A hub that is away, refuses or hangs costs a line, and the folder to push by hand stays.

    Args:
        output_dir: The place of the folders until they are uploaded; by default the trainer's.
        save_strategy: When to push what the trainer saves: "epoch" and "steps" make it save a checkpoint each time,
            "save" leaves that to the trainer, and "end" pushes nothing before the end, which is always pushed.
        save_steps: With "steps": push each so many steps.
        processing_class: The tokenizer or image processor to push along; by default the trainer's.
        hub_model_id: The repository, "owner/name" or "name"; by default the trainer's hub_model_id, else the name of
            the output folder.
        hub_token: The token; by default the trainer's, else the one of `hf auth login` or HF_TOKEN. It is never logged.
        checkpoint: Whether to push the whole checkpoint too, to resume from, as the folder last-checkpoint; "all"
            pushes each one, as the folder checkpoint-N.
        hub_private_repo: Whether a new repository is private.
        endpoint: The hub's address; by default HF_ENDPOINT, else the Hugging Face Hub.
        card: Whether to write README.md: the metrics, the settings and links to the run in its trackers.
        report: The `ReportCallback`, or the run, to link to. Our Trainer's callbacks find it by themselves; in that of
            transformers it has to be given.
        timeout_s: How long one upload may take.
        finish_timeout_s: How long the end of the training waits for uploads; 10 s if it was interrupted.

    Raises:
        OptionError: A setting is wrong, or huggingface_hub is not installed.
    """

    reports = True

    def __init__(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        save_strategy: str = "epoch",
        save_steps: int | None = None,
        processing_class: Any = None,
        hub_model_id: str | None = None,
        hub_token: str | None = None,
        checkpoint: bool | Literal["all"] = False,
        *,
        hub_private_repo: bool | None = None,
        endpoint: str | None = None,
        card: bool = True,
        report: Any = None,
        timeout_s: float = 3600.0,
        finish_timeout_s: float = 600.0,
    ) -> None:
        check_settings(STRATEGIES, save_strategy, save_steps)
        if checkpoint not in (False, True, "all"):
            raise OptionError(f"checkpoint={checkpoint!r} is unknown. Valid values are: False, True, 'all'.")
        self._output_dir = None if output_dir is None else absolute(output_dir)
        self._strategy, self._every_steps = save_strategy, save_steps
        self._processing_class, self._repo, self._token = processing_class, hub_model_id, hub_token
        self._with_checkpoint, self._private, self._endpoint = checkpoint, hub_private_repo, endpoint
        self._card, self._report = card, report
        self._timeout_s, self._finish_timeout_s = timeout_s, finish_timeout_s
        self._uploads: Uploads | None = None
        self._patience_s = finish_timeout_s
        self._due: int | None = None  # the step from which on a save is to be pushed
        self._saved: Path | None = None  # the last checkpoint of this training: an earlier one's is not pushed
        self._pushed = 0

    @property
    def url(self) -> str:
        """Return where the model is; empty before the first upload has arrived."""
        return "" if self._uploads is None else self._uploads.url

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Settle where to push to."""
        self._due, self._saved, self._patience_s = None, None, self._finish_timeout_s
        folder = Path(self._output_dir or args.output_dir)
        self._uploads = Uploads(
            self._repo or getattr(args, "hub_model_id", None) or folder.resolve().name,
            endpoint=self._endpoint,
            token=self._token or getattr(args, "hub_token", None),
            private=self._private if self._private is not None else getattr(args, "hub_private_repo", None),
            timeout_s=self._timeout_s,
        )

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Request a checkpoint to push, if one is due at this step; check on the current upload."""
        if self._uploads is not None:
            self._uploads.tend()
        if self._every_steps is not None and state.global_step % self._every_steps == 0:
            self._due, control.should_save = state.global_step, True
        return control

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Ask for a checkpoint to push, if each epoch is pushed."""
        if self._strategy == "epoch":
            self._due, control.should_save = state.global_step, True
        return control

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push the saved checkpoint, if a push is due."""
        self._saved = checkpoint_of(args, state)
        is_due = self._due is not None and self._due <= state.global_step
        if is_due or self._strategy == "save":
            self._due = None if is_due else self._due
            self._push(args, state, control, kwargs, self._saved if getattr(args, "async_save", False) else None)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push the model as it is now. Under transformers, which has no teardown, wait for it here."""
        self._push(args, state, control, kwargs)
        if is_transformers(state):
            self._wait()

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, exception: BaseException, **kwargs: Any
    ) -> None:
        """Wait less for the current upload, if the training was interrupted."""
        if isinstance(exception, KeyboardInterrupt | SystemExit):
            self._patience_s = min(self._patience_s, INTERRUPTED_S)

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Wait for the current upload."""
        self._wait()

    def push(
        self, args: Any, state: TrainerState, control: TrainerControl, about: dict[str, Any], *, blocking: bool
    ) -> str:
        """Push the model now; return where it is, or an empty text if that is not known yet.

        *about* holds what a hook is given, and may hold the message and the revision of the commit, and metadata of
        the card.
        """
        if self._uploads is None:
            self.on_train_begin(args, state, control)
        self._push(args, state, control, about)
        if blocking:
            self._wait()
        return self.url

    def _wait(self) -> None:
        if self._uploads is not None:
            self._uploads.wait(self._patience_s)

    def _push(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        about: dict[str, Any],
        checkpoint: Path | None = None,
    ) -> None:
        """Push the model; its weights are those of the checkpoint, if one is given: it may have trained on since."""
        model, handler = about.get("model"), about.get("callback_handler")
        if model is None or self._uploads is None:
            return
        if handler is not None:
            handler.call("on_push_begin", args, state, control)
        weights = whole_weights(model) if is_sharded(model) else None
        if not state.is_world_process_zero:
            return
        self._pushed += 1
        folder = Path(self._output_dir or args.output_dir) / STAGES / f"{state.global_step}-{self._pushed}"
        from safetensors import SafetensorError

        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            weights = weights_in(checkpoint) if weights is None and checkpoint is not None else weights
            write_model(model, weights, folder)
            processing_class: Any = self._processing_class or about.get("processing_class")
            if hasattr(processing_class, "save_pretrained"):
                processing_class.save_pretrained(folder)
            if self._card:
                name = self._uploads.repo.rpartition("/")[2]
                text = model_card(name, args, state, model, open_runs(self._report, handler), about.get("card"))
                (folder / "README.md").write_text(text, encoding="utf-8")
            if self._with_checkpoint and self._saved is not None and self._saved == checkpoint_of(args, state):
                name = self._saved.name if self._with_checkpoint == "all" else "last-checkpoint"
                # A checkpoint is never rewritten in place.
                shutil.copytree(self._saved, folder / name, copy_function=link_file)
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            warn(
                f"the model was not pushed at step {state.global_step}: it could not be written to {folder} ({error})."
            )
            shutil.rmtree(folder, ignore_errors=True)
            return
        revision = about.get("revision") or getattr(args, "hub_revision", None)
        self._uploads.push(folder, about.get("message") or f"Step {state.global_step}", revision)
