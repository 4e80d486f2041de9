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


def write_model(model: Any, weights: dict[str, Any] | None, folder: Path) -> None:
    """Write a model so that its own library reads it; *weights* are those of a sharded one, or earlier ones."""
    from safetensors.torch import save_file, save_model

    inner: Any = getattr(model, "_orig_mod", model)  # what torch.compile has wrapped
    if hasattr(inner, "save_pretrained"):
        inner.save_pretrained(folder, **({} if weights is None else {"state_dict": weights}))
    elif weights is not None:
        save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    else:
        save_model(inner, str(folder / "model.safetensors"), metadata={"format": "pt"})
