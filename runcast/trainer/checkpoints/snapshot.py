"""What of a training goes into a checkpoint and comes back, so that a resumed one ends with the very same weights."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from runcast.core.errors import CheckpointError
from runcast.core.events import TrainerState
from runcast.core.handler import CallbackHandler
from runcast.trainer.checkpoints.files import Checkpoint, load_tensors, save_tensors, write_manifest
from runcast.trainer.checkpoints.weights import load_weights, save_config, save_weights, shapes_of
from runcast.trainer.data.streams import RankStream
from runcast.trainer.ranks import sharding
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.training import Training
from runcast.values.numbers import as_json

_OF_THIS_PROCESS = ("is_world_process_zero", "is_local_process_zero", "train_batch_size")  # no checkpoint knows them
_log = logging.getLogger("runcast.trainer")


class _Taken(NamedTuple):
    """What one process writes: files by name, its part of a sharded model by folder, and whole weights."""

    files: dict[str, Any]
    shards: dict[str, dict[str, torch.Tensor]]
    weights: dict[str, torch.Tensor]


def save_training(
    training: Training,
    folder: Path,
    ranks: Ranks,
    callbacks: CallbackHandler,
    processing_class: Any = None,
    best_saved: float | None = None,
    save_model: Callable[[str], object] | None = None,
    stage: Callable[[_Taken], _Taken] | None = None,
) -> Iterator[None]:
    """Write everything to *folder*; each rank calls it, and it raises in all of them or in none.

    It yields once. With `stage`, the training may go on from there while another thread writes the rest.

    Args:
        training: What is saved.
        folder: Where to.
        ranks: The processes that write. With `Ranks()` one writes a checkpoint by itself, as one of a job of its own.
        callbacks: Their states are saved.
        processing_class: A tokenizer or image processor, saved with the model.
        best_saved: The value of the best checkpoint so far.
        save_model: Writes the weights in a way of its own, in every process.
        stage: Copies all tensors to the host; None writes them as they are.
    """
    first = ranks.rank == 0

    def take() -> _Taken:
        taken = _take(training, ranks, best_saved)
        return taken if stage is None else stage(taken)

    def write(taken: _Taken) -> None:
        if taken.shards:
            sharding.save_shards(taken.shards, folder, ranks.group)
        for name, content in taken.files.items():
            save_tensors(content, folder / name)
        if taken.weights and not (folder / "model.safetensors").exists():  # as a subclass has written it
            save_weights(taken.weights, folder)

    taken = ranks.together(take)
    if save_model is not None:
        ranks.together(partial(save_model, str(folder)))
    about = ranks.together(lambda: _save_small(training, folder, callbacks, processing_class) if first else {})
    yield
    ranks.together(lambda: write(taken))
    ranks.together(lambda: write_manifest(folder, world_size=ranks.size, **about) if first else None)


def _take(training: Training, ranks: Ranks, best_saved: float | None) -> _Taken:
    model, only_model = training.engine.model, training.args.save_only_model
    taken, own = _Taken({}, {}, {}), {}
    if sharding.is_sharded(model):
        optimizer = None if only_model else training.optimization.optimizer
        shards, settings = sharding.shards_of(model, optimizer)
        taken.shards.update(shards)
        own = {"optimizer": settings, "buffers": sharding.own_buffers(model)}
    elif ranks.rank == 0:
        taken.weights.update(model.state_dict())
    if not only_model:
        taken.files[f"rank-{ranks.rank}.pt"] = {**training.position(), "shards": own, "best_saved": best_saved}
        if ranks.rank == 0:
            taken.files.update({f"{name}.pt": part.state_dict() for name, part in _whole_parts(training).items()})
    return taken


def _save_small(training: Training, folder: Path, callbacks: CallbackHandler, processing_class: Any) -> dict[str, Any]:
    """Write all but tensors; return what the manifest says of the training."""
    model, args, state = training.engine.model, training.args, training.state
    is_written = (folder / "model.safetensors").exists()
    save_config(None if is_written else model, folder, processing_class)
    state.stateful_callbacks = callback_states(callbacks.states(), training.unsaved)
    for name, content in (("trainer_state", vars(state)), ("training_args", args.to_dict())):
        (folder / f"{name}.json").write_text(json.dumps(as_json(content), indent=2) + "\n", encoding="utf-8")
    return {"step": state.global_step, "shapes": shapes_of(model), "progress": training.data.progress()}


def callback_states(states: Mapping[str, Any], unsaved: set[str]) -> dict[str, Any]:
    """Return the states of callbacks as JSON can hold them; an attribute that it cannot hold is reported once."""
    return {
        name: [_callback_state(name, one, unsaved) for one in state]
        if isinstance(state, list)
        else _callback_state(name, state, unsaved)
        for name, state in states.items()
    }


def _callback_state(name: str, state: Mapping[str, Any], unsaved: set[str]) -> dict[str, Any]:
    def list_or_refuse(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        raise CheckpointError(type(value).__name__)

    kept = {}
    for attribute, value in state.get("attributes", {}).items():
        try:
            kept[attribute] = as_json(value, list_or_refuse)
        except CheckpointError as error:
            if f"{name}.{attribute}" not in unsaved:
                unsaved.add(f"{name}.{attribute}")
                _log.warning(
                    "The attribute %r in the state of the callback %s is a %s, which JSON cannot hold. It is not in "
                    "the checkpoints, and not restored when the training resumes.",
                    attribute,
                    name,
                    error,
                )
    return {**as_json({**state, "attributes": {}}), "attributes": kept}


def load_training(training: Training, checkpoint: Checkpoint, callbacks: CallbackHandler) -> float | None:
    """Continue a training, and its callbacks, where a checkpoint was written; return the value of the best one so far.

    Raises:
        CheckpointError: It is of another model, holds weights only, or was written by another number of processes, each
            with its part of the model.
    """
    ranks, model, state = training.engine.ranks, training.engine.model, training.state
    folder, manifest = checkpoint
    same_job = manifest["world_size"] == ranks.size
    is_sharded = (folder / sharding.WEIGHTS).is_dir()
    if "rank-0.pt" not in manifest["files"]:
        raise CheckpointError(f"One cannot resume from {folder}: it holds weights only (save_only_model).")
    if is_sharded != sharding.is_sharded(model):
        was, fix = ("sharded", "Set fsdp=True") if is_sharded else ("not sharded", "Leave fsdp out")
        raise CheckpointError(f"The training that wrote {folder} was {was}, and this one is not so. {fix}.")
    position: dict[str, Any] = load_tensors(folder / f"rank-{ranks.rank if same_job else 0}.pt")
    if not same_job:
        position |= {"rng": None, "epoch_rng": None, "loss_sum": position.get("loss_mean", position["loss_sum"])}
        if not isinstance(training.data.loader.dataset, RankStream):  # of which every rank reads everything
            position["data"] = None
    load_weights(model, folder, manifest["shapes"])
    if is_sharded:
        sharding.load_shards(model, training.optimization.optimizer, position["shards"]["optimizer"], folder)
        sharding.set_own_buffers(model, position["shards"]["buffers"])
    for name, part in _whole_parts(training).items():
        device = training.engine.device if name == "optimizer" else "cpu"
        try:
            _load_state(part, load_tensors(folder / f"{name}.pt", device))
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"{folder}/{name}.pt does not suit this training: {error}. Use the optimizer and schedule that it was "
                "saved with."
            ) from error
    saved = vars(TrainerState.load_from_json(folder / "trainer_state.json"))
    vars(state).update({name: value for name, value in saved.items() if name not in _OF_THIS_PROCESS})
    if training.args.restore_callback_states_from_checkpoint:
        callbacks.load_states(state.stateful_callbacks)
    training.resume(position)
    return position.get("best_saved", state.best_metric)  # 0.1 kept the best metric alone


def _load_state(part: Any, state: dict[str, Any]) -> None:
    """Load the state of an optimizer, schedule or scaler.

    Raises:
        ValueError: An optimizer takes the groups of another kind as they are, which would lack its own options.
    """
    options = [set(group).intersection(getattr(part, "defaults", ())) for group in getattr(part, "param_groups", ())]
    part.load_state_dict(state)
    for own, group in zip(options, getattr(part, "param_groups", ()), strict=True):
        if missing := own.difference(group):
            raise ValueError(f"it was saved by an optimizer without {', '.join(sorted(missing))}")


def _whole_parts(training: Training) -> dict[str, Any]:
    """Name the parts that one process writes for all: without the optimizer of a sharded model."""
    sharded = sharding.is_sharded(training.engine.model)
    return {name: part for name, part in training.optimization.stateful().items() if name != "optimizer" or not sharded}
