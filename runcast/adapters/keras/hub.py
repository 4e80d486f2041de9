"""Keras 3: pushes the model to the Hugging Face Hub while it is trained."""

import itertools
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

import keras

from runcast.callbacks.hub import STAGES
from runcast.callbacks.hub.upload import Uploads, check_settings
from runcast.journal.paths import absolute
from runcast.redaction.console import warn
from runcast.run.ranks import rank

STRATEGIES = ("epoch", "steps", "end")


class PushToHubCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that pushes the model (`model.keras`, with its optimizer's state) and a model card, as one commit.

    A child process uploads each written model while training continues. Where uploads are slower, the newest
    wins. At the end the training waits for the last one, up to `finish_timeout_s`. A hub that is away, refuses or hangs
    costs a line, and the folder to push by hand stays. Only rank 0 pushes.

    Args:
        output_dir: The place of the folders until they are uploaded.
        save_strategy: "epoch", "steps" or "end"; the end is pushed in any case.
        save_steps: With "steps": push each so many batches.
        tokenizer: What is saved along, by its `save_pretrained`.
        hub_model_id: The repository, "owner/name" or "name"; by default the name of the output folder.
        hub_token: The token; by default the one of `hf auth login` or HF_TOKEN. It is never logged.
        hub_private_repo: Whether a new repository is private.
        endpoint: The hub's address; by default HF_ENDPOINT, else the Hugging Face Hub.
        timeout_s: How long one upload may take.
        finish_timeout_s: How long the end of the training waits for uploads.

    Raises:
        OptionError: A setting is wrong, or huggingface_hub is not installed.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        save_strategy: str = "epoch",
        save_steps: int | None = None,
        tokenizer: Any = None,
        hub_model_id: str | None = None,
        hub_token: str | None = None,
        *,
        hub_private_repo: bool | None = None,
        endpoint: str | None = None,
        timeout_s: float = 3600.0,
        finish_timeout_s: float = 600.0,
    ) -> None:
        super().__init__()
        check_settings(STRATEGIES, save_strategy, save_steps)
        self._folder = absolute(output_dir)
        self._strategy, self._every, self._tokenizer = save_strategy, save_steps, tokenizer
        self._finish_timeout_s = finish_timeout_s
        self._batches, self._pushes = 0, itertools.count(1)
        self._latest: dict[str, Any] = {}
        name = hub_model_id or self._folder.resolve().name
        self._uploads = Uploads(name, endpoint=endpoint, token=hub_token, private=hub_private_repo, timeout_s=timeout_s)

    @property
    def url(self) -> str:
        """Return where the model is; empty before the first upload has arrived."""
        return self._uploads.url

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Push, if a push is due at this batch; check on the current upload."""
        self._uploads.tend()
        self._batches += 1
        if self._every is not None and self._batches % self._every == 0:
            self._push(f"Batch {self._batches}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Push, if each epoch is pushed."""
        self._latest = dict(logs or {})
        if self._strategy == "epoch":
            self._push(f"Epoch {epoch + 1}")

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Push the present model, unless the last epoch has, and wait for the current upload."""
        if self._strategy != "epoch":
            self._push(f"End, after {self._batches} batches")
        self._uploads.wait(self._finish_timeout_s)

    def _push(self, message: str) -> None:
        if rank() != 0:
            return
        folder = self._folder / STAGES / str(next(self._pushes))
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.model.save(folder / "model.keras")
            if self._tokenizer is not None:
                self._tokenizer.save_pretrained(folder)
            (folder / "README.md").write_text(self._card(), encoding="utf-8")
        except (OSError, ValueError) as error:
            warn(f"the model was not pushed: it could not be written to {folder} ({error}). Training continues.")
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._uploads.push(folder, message)

    def _card(self) -> str:
        """Write the card as Markdown, with the metadata that the hub reads."""
        name = self._uploads.repo.rpartition("/")[2]
        rows = [f"| {key} | {value:.6g} |" for key, value in sorted(self._latest.items()) if isinstance(value, float)]
        head = ["---", *(f"{k}: {json.dumps(v)}" for k, v in (("library_name", "keras"), ("tags", ["runcast"]))), "---"]
        about = f"A `{type(self.model).__name__}` of {self.model.count_params():,} parameters. Load it with:"
        load = f'```python\nimport keras\n\nmodel = keras.saving.load_model("{name}/model.keras")\n```'
        table = "\n".join(["| metric | value |", "|---|---|", *rows])
        return "\n\n".join(["\n".join(head), f"# {name}", about, load, *([table] if rows else [])]) + "\n"
