"""What a model yields, batch by batch, becomes NumPy arrays of all examples."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from runcast.callbacks.outputs import IGNORED_LABEL
from runcast.trainer.model.items import fields_of


def to_host(value: Any) -> Any:
    """Move the tensors of a structure off the device."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu")
    if isinstance(value, Mapping):
        return {key: to_host(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [to_host(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return to_host(fields_of(value)) if _is_record(value) else value


def concatenate(batches: Sequence[Any], counts: Sequence[int]) -> Any:
    """Join the results of the batches, keeping their structure: tuples, named tuples and dicts of arrays.

    Examples of unequal size are padded with the ignored label. A list with an entry for each example stays one (as an
    array of objects, or of texts). A number for each batch becomes an array of as many numbers as there are batches.
    What no array can hold, such as a cache of keys and values, becomes None.

    Args:
        batches: Tensors, arrays, numbers, texts, or structures of them; None where there is nothing.
        counts: How many examples each batch has.
    """
    there = [(batch, count) for batch, count in zip(batches, counts, strict=True) if batch is not None]
    if not there:
        return None
    parts, counts = [part for part, _ in there], [count for _, count in there]
    first = parts[0]
    if _is_record(first):
        parts = [fields_of(part) for part in parts]
        first = parts[0]
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for part in parts for key in part)
        return {key: concatenate([part.get(key) for part in parts], counts) for key in keys}
    if isinstance(first, tuple) or (isinstance(first, list) and not _is_of_examples(parts, counts)):
        columns = [concatenate(column, counts) for column in itertools.zip_longest(*parts)]
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    if isinstance(first, list):
        return _objects([to_host(example) for part in parts for example in part])
    arrays = [_array(part) for part in parts]
    if any(array is None for array in arrays):
        return None
    most = max(array.ndim for array in arrays)
    return _stack([a[None] if a.ndim == most - 1 and n == 1 else a for a, n in zip(arrays, counts, strict=True)])


def join(parts: Sequence[Any], *, in_turn: bool) -> Any:
    """Join the parts of the processes: one after the other, or, if they took turns, in the order of the data."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    first = there[0]
    if isinstance(first, tuple):
        columns = [join(column, in_turn=in_turn) for column in zip(*there, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    if isinstance(first, Mapping):
        return {key: join([part[key] for part in there], in_turn=in_turn) for key in first}
    whole = _stack(there)
    turns = [range(rank, len(whole), len(there)) for rank in range(len(there))]
    if not in_turn or [len(part) for part in there] != [len(turn) for turn in turns]:
        return whole
    order = np.argsort(np.concatenate([np.asarray(turn, dtype=np.intp) for turn in turns]))
    return whole[order]


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type | Mapping)


def _is_of_examples(parts: Sequence[Any], counts: Sequence[int]) -> bool:
    """Return whether a list has an entry for each example, not for each of several outputs."""
    if any(len(part) != count for part, count in zip(parts, counts, strict=True)):
        return False
    return not all(
        isinstance(entry, torch.Tensor | np.ndarray) and entry.ndim and entry.shape[0] == count
        for part, count in zip(parts, counts, strict=True)
        for entry in part
    )


def _objects(examples: list[Any]) -> Any:
    if all(isinstance(example, str | int | float | bool) for example in examples):
        return np.asarray(examples)
    array: Any = np.empty(len(examples), dtype=object)
    for index, example in enumerate(examples):
        array[index] = _array(example) if isinstance(example, torch.Tensor) else example
    return array


def _array(part: Any) -> Any:
    if isinstance(part, str | int | float | bool | np.ndarray | np.generic):
        return np.atleast_1d(np.asarray(part))
    if not isinstance(part, torch.Tensor):
        return None
    part = part.detach()
    if part.is_nested:
        part = torch.nested.to_padded_tensor(part, IGNORED_LABEL)
    part = (part.to_dense() if part.layout != torch.strided else part).cpu()
    try:
        return np.atleast_1d(part.resolve_conj().resolve_neg().numpy())
    except TypeError:  # NumPy has no bfloat16, and no float8
        return np.atleast_1d(part.float().numpy())


def _stack(arrays: list[Any]) -> Any:
    """Concatenate arrays, padded to the same size."""
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    most = max(array.ndim for array in arrays)
    arrays = [array.reshape(array.shape + (1,) * (most - array.ndim)) for array in arrays]
    size = [max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True)]
    kind = np.result_type(*arrays)
    if kind.kind in "bu":  # which cannot hold the ignored label
        kind = np.dtype(np.int64)
    whole = np.full((sum(map(len, arrays)), *size), IGNORED_LABEL, dtype=kind)
    begin = 0
    for array in arrays:
        whole[(slice(begin, begin + len(array)), *map(slice, array.shape[1:]))] = array
        begin += len(array)
    return whole
