"""A trained model in a form that other programs run: safetensors, torch.export or ONNX."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runcast.callbacks.outputs import evaluation_mode
from runcast.callbacks.weights import whole_weights, write_weights
from runcast.core.errors import OptionError
from runcast.trainer.model.items import LABELS
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.ranks.sharding import is_sharded

SUFFIXES = {"safetensors": ".safetensors", "torch": ".pt2", "onnx": ".onnx"}


def export_model(model: nn.Module, path: Path, format: str, batch: Any = None, ranks: Ranks | None = None) -> Path:
    """Write the model to a file; `batch` shows torch.export and ONNX what goes into it, in any number of examples.

    Of several processes the first one writes. All must call it where the model is sharded.

    Raises:
        OptionError: The format is unknown, what it needs is not installed, or there is no batch.
    """
    leads = ranks is None or ranks.rank == 0
    if format not in SUFFIXES:
        raise OptionError(f"format={format!r} is unknown. Valid values are: {', '.join(SUFFIXES)}.")
    path = path if path.suffix else path.with_suffix(SUFFIXES[format])
    if leads:
        path.parent.mkdir(parents=True, exist_ok=True)
    if format == "safetensors":
        weights = whole_weights(model) if is_sharded(model) else None
        if leads:
            write_weights(model, weights, path)
        return path
    if is_sharded(model):
        raise OptionError(
            f"format={format!r} needs the whole model in one process. Call save_model(folder), load the weights into "
            "the model in a program of one process, and export it there."
        )
    if format == "onnx" and importlib.util.find_spec("onnxscript") is None:
        raise OptionError(
            "Exporting to ONNX needs onnxscript, which is not installed. Install it with: pip install onnx onnxscript"
        )
    if batch is None:
        raise OptionError(
            f"format={format!r} needs to see a batch, and the Trainer has no dataset. Give one: export(path, format, "
            "batch=...)."
        )
    if not leads:
        return path
    args, named = _inputs(batch)
    shapes = _any_number_of_examples(args, named)
    with torch.no_grad(), evaluation_mode(model):
        if format == "torch":
            torch.export.save(torch.export.export(model, args, named, dynamic_shapes=shapes), path)
        else:
            torch.onnx.export(
                model, args, str(path), kwargs=named, dynamic_shapes=shapes, dynamo=True, external_data=False
            )
    return path


def _inputs(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if dataclasses.is_dataclass(batch):
        batch = vars(batch)
    if isinstance(batch, Mapping):
        return (), {key: value for key, value in batch.items() if key not in LABELS}
    if isinstance(batch, list | tuple):
        return tuple(batch[:-1]) if len(batch) > 1 else tuple(batch), {}
    return (batch,), {}


def _any_number_of_examples(args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    examples = torch.export.Dim("examples")
    shapes = [{0: examples} if isinstance(value, torch.Tensor) else None for value in (*args, *named.values())]
    return tuple(shapes) if args else dict(zip(named, shapes, strict=True))
