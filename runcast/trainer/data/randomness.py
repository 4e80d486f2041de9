"""The state of every random number generator that a training may use."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device, generators: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the state of every random number generator that a training may use, and of those that its data has."""
    state = {
        "python": random.getstate(),
        "numpy": _plain(np.random.get_state(legacy=True)),
        "cpu": torch.get_rng_state(),
        "data": {name: _state_of(generator) for name, generator in generators.items()},
    }
    if device.type != "cpu":
        state["device"] = getattr(torch, device.type).get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device, generators: Mapping[str, Any]) -> None:
    """Set the state of every random number generator back."""
    random.setstate(state["python"])
    np.random.set_state(_with_arrays(state["numpy"]))
    torch.set_rng_state(state["cpu"].cpu())
    if "device" in state and device.type != "cpu":
        getattr(torch, device.type).set_rng_state(state["device"].cpu())
    for name, generator in generators.items():
        if (own := state.get("data", {}).get(name)) is not None:
            _set_state_of(generator, own)


def _state_of(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return _plain(generator.bit_generator.state)
    return _plain(generator.get_state())


def _set_state_of(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _with_arrays(state)
    else:
        generator.set_state(_with_arrays(state))


def _plain(state: Any) -> Any:
    """Turn the arrays in a state into tensors, which can be read without running code."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.astype(np.int64))
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    return tuple(map(_plain, state)) if isinstance(state, tuple) else state


def _with_arrays(state: Any) -> Any:
    """Turn what `_plain` made back."""
    if isinstance(state, torch.Tensor):
        if state.dtype == torch.uint8:  # of torch itself
            return state
        words = state.numpy().view(np.uint64)
        return words if (words >> np.uint64(32)).any() else words.astype(np.uint32)
    if isinstance(state, Mapping):
        return {key: _with_arrays(value) for key, value in state.items()}
    return tuple(map(_with_arrays, state)) if isinstance(state, tuple) else state
