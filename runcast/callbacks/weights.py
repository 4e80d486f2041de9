"""The weights of a model, which may be split over processes: gathering and writing them."""

from pathlib import Path
from typing import Any


def is_sharded(model: Any) -> bool:
    """Tell whether each process has a part of every weight, as with FSDP2."""
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())


def whole_weights(model: Any) -> dict[str, Any]:
    """Gather the weights of a sharded model on the CPU of the first process; every process must call it.

    A weight that goes by two names is there once.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    once = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return {name: value.contiguous() for name, value in weights.items() if name in once}


def weights_in(checkpoint: Path) -> dict[str, Any]:
    """Read the weights in a checkpoint of our Trainer."""
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(checkpoint / "model.safetensors")
    return weights


def write_weights(model: Any, weights: dict[str, Any] | None, path: Path) -> None:
    """Write *weights*, or the model's own, as safetensors; of its own that are the same tensor, one is written."""
    from safetensors.torch import save_file, save_model

    if weights is not None:
        save_file(weights, str(path), metadata={"format": "pt"})
    else:
        save_model(model, str(path), metadata={"format": "pt"})


def write_model(model: Any, weights: dict[str, Any] | None, folder: Path) -> None:
    """Write a model so that its own library reads it; *weights* are those of a sharded one, or earlier ones."""
    inner = uncompiled(model)
    if hasattr(inner, "save_pretrained"):
        inner.save_pretrained(folder, **({} if weights is None else {"state_dict": weights}))
    else:
        write_weights(inner, weights, folder / "model.safetensors")


def uncompiled(model: Any) -> Any:
    """Return the model that torch.compile has wrapped, or one that is not compiled as it is."""
    return getattr(model, "_orig_mod", model)
