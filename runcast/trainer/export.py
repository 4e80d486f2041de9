"""A trained model in a form that other programs run: safetensors, torch.export or ONNX."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.forward import LABELS

SUFFIXES = {"safetensors": ".safetensors", "torch": ".pt2", "onnx": ".onnx"}


def export_model(model: nn.Module, path: Path, format: str, batch: Any = None) -> Path:
    """Write the model to a file; `batch` shows torch.export and ONNX what goes into it, in any number of examples.

    Raises:
        OptionError: The format is unknown, what it needs is not installed, or there is no batch.
    """
    if format not in SUFFIXES:
        raise OptionError(f"format={format!r} is unknown. Valid values are: {', '.join(SUFFIXES)}.")
    path = path if path.suffix else path.with_suffix(SUFFIXES[format])
    path.parent.mkdir(parents=True, exist_ok=True)
    if format == "safetensors":
        from safetensors.torch import save_model

        save_model(model, str(path), metadata={"format": "pt"})
        return path
    if format == "onnx" and importlib.util.find_spec("onnxscript") is None:
        raise OptionError(
            "Exporting to ONNX needs onnxscript, which is not installed. Install it with: pip install onnx onnxscript"
        )
    if batch is None:
        raise OptionError(
            f"format={format!r} needs to see a batch, and the Trainer has no dataset. Give one: export(path, format, "
            "batch=...)."
        )
    args, named = _inputs(batch)
    shapes = _any_number_of_examples(args, named)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if format == "torch":
                torch.export.save(torch.export.export(model, args, named, dynamic_shapes=shapes), path)
            else:
                torch.onnx.export(
                    model, args, str(path), kwargs=named, dynamic_shapes=shapes, dynamo=True, external_data=False
                )
    finally:
        model.train(was_training)
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
