"""What a model makes of a dataset, example by example: its outputs, or the texts that it generates."""

import contextlib
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from runcast.callbacks.weights import is_sharded
from runcast.core.errors import OptionError
from runcast.run.ranks import group_of_hosts, joined_job

IGNORED_LABEL = -100  # what torch's cross entropy and transformers leave out


class Outputs(NamedTuple):
    """How `MetricCallback` collects outputs: by a forward pass, or with `generate_kwargs` by generating."""

    output_cols: tuple[str, ...]
    label_cols: tuple[str, ...]
    batch_size: int
    collate: Callable[[list[Any]], Any] | None
    generate_kwargs: dict[str, Any] | None
    processing_class: Any

    def collect(self, model: Any, data: Any, processing_class: Any) -> tuple[list[Any], list[Any]]:
        """Run the model over a dataset; return predictions and labels of all examples, in order.

        Each process of a job computes every n-th batch, and as many batches as the others: a sharded model computes
        together.
        """
        torch = sys.modules["torch"]  # a training without torch never comes here
        processing_class = self.processing_class or processing_class
        if self.generate_kwargs is not None and not hasattr(processing_class, "batch_decode"):
            raise OptionError(
                "predict_with_generate needs a tokenizer to decode with: give processing_class=tokenizer."
            )
        device = next(model.parameters()).device
        rank, size = _place()
        found: list[tuple[list[Any], list[Any]]] = []
        with _evaluating(torch, model, device):
            batches = self._batches(data, processing_class)
            while group := list(itertools.islice(batches, size)):
                mine = group[rank] if rank < len(group) else group[-1]
                pair = self._run(model, mine, device, processing_class)
                if rank < len(group):
                    found.append(pair)
        parts: list[list[tuple[list[Any], list[Any]]]] = [found]
        if size > 1:
            parts = [[] for _ in range(size)]
            torch.distributed.all_gather_object(parts, found, group=group_of_hosts())
        pairs = [part[index] for index in range(len(parts[0])) for part in parts if index < len(part)]
        return [item for pair in pairs for item in pair[0]], [item for pair in pairs for item in pair[1]]

    def _run(self, model: Any, batch: Any, device: Any, processing_class: Any) -> tuple[list[Any], list[Any]]:
        if isinstance(batch, Mapping):
            positional: list[Any] = []
            wanted = [batch[name] for name in self.label_cols if name in batch]
            if not wanted:
                raise OptionError(
                    f"label_cols={list(self.label_cols)}, but an example has only: {', '.join(sorted(batch))}."
                )
            named = {key: value.to(device) for key, value in batch.items() if hasattr(value, "to")}
        else:
            positional = [value.to(device) if hasattr(value, "to") else value for value in batch[:-1]]
            wanted, named = [batch[-1]], {}
        if self.generate_kwargs is None:
            outputs = model(*positional, **_accepted(model, named))
            return _rows(self._chosen(outputs)), _rows(wanted)
        inputs = {key: value for key, value in named.items() if key not in self.label_cols}
        kwargs = {"synced_gpus": True} if is_sharded(model) else {}
        tokens = model.generate(*positional, **inputs, **{**kwargs, **self.generate_kwargs})
        prompt = inputs.get("input_ids", positional[0] if positional else None)
        if prompt is not None and not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
            tokens = tokens[:, prompt.shape[1] :]
        texts = processing_class.batch_decode(tokens, skip_special_tokens=True)
        return list(texts), _rows([_as_texts(column, processing_class) for column in wanted])

    def _chosen(self, outputs: Any) -> list[Any]:
        if self.output_cols:
            return [outputs[name] for name in self.output_cols]
        if not isinstance(outputs, Mapping):
            return [outputs[0] if isinstance(outputs, tuple) else outputs]
        if "logits" in outputs:
            return [outputs["logits"]]
        return [next(value for key, value in outputs.items() if key != "loss")]

    def _batches(self, data: Any, processing_class: Any) -> Iterator[Any]:
        if hasattr(data, "dataset") and hasattr(data, "batch_sampler"):
            yield from data
            return
        examples: list[Any] = []
        for example in _examples(data):
            examples.append(example)
            if len(examples) == self.batch_size:
                yield self._join(examples, processing_class)
                examples = []
        if examples:
            yield self._join(examples, processing_class)

    def _join(self, examples: list[Any], processing_class: Any) -> Any:
        if self.collate is not None:
            return self.collate(examples)
        first = examples[0]
        left = getattr(processing_class, "padding_side", "right") == "left"
        if not isinstance(first, Mapping):
            return [_stack(list(column), 0, left=left) for column in zip(*examples, strict=True)]
        pads = dict.fromkeys(self.label_cols, IGNORED_LABEL) | {"input_ids": _pad_of(processing_class)}
        return {
            key: _stack(
                [example[key] for example in examples], pads.get(key, 0), left=left and key not in self.label_cols
            )
            for key in first
        }


def _examples(data: Any) -> Iterator[Any]:
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data)))
    return iter(data)


def _stack(values: list[Any], pad: int, *, left: bool) -> Any:
    """Join values of one name: texts and odd things as a list, numbers and sequences as a tensor, padded if need be."""
    torch = sys.modules["torch"]
    if isinstance(values[0], str) or not (hasattr(values[0], "__float__") or hasattr(values[0], "__len__")):
        return values
    tensors = [torch.as_tensor(value) for value in values]
    if tensors[0].dim() != 1 or len({len(tensor) for tensor in tensors}) == 1:
        return torch.stack(tensors)
    longest = max(map(len, tensors))
    missing = [tensor.new_full((longest - len(tensor),), pad) for tensor in tensors]
    pairs = zip(missing, tensors, strict=True)
    return torch.stack([torch.cat((gap, tensor) if left else (tensor, gap)) for gap, tensor in pairs])


def _rows(columns: Sequence[Any]) -> list[Any]:
    hosts = [list(column.detach().cpu()) if hasattr(column, "detach") else list(column) for column in columns]
    return hosts[0] if len(hosts) == 1 else list(zip(*hosts, strict=True))


def _as_texts(labels: Any, processing_class: Any) -> list[str]:
    if not hasattr(labels, "masked_fill"):
        return list(labels)
    shown = labels.masked_fill(labels == IGNORED_LABEL, _pad_of(processing_class))
    return list(processing_class.batch_decode(shown, skip_special_tokens=True))


def _pad_of(processing_class: Any) -> int:
    return int(getattr(processing_class, "pad_token_id", None) or 0)


def _accepted(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(model.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return inputs
    return {key: value for key, value in inputs.items() if key in parameters}


def in_every_process(answer: bool) -> bool:
    """Tell whether the answer is yes in all processes of the job; all of them ask."""
    distributed = joined_job()
    if distributed is None or distributed.get_world_size() == 1:
        return answer
    answers = [answer] * distributed.get_world_size()
    distributed.all_gather_object(answers, answer, group=group_of_hosts())
    return all(answers)


def _place() -> tuple[int, int]:
    distributed = joined_job()
    return (0, 1) if distributed is None else (distributed.get_rank(), distributed.get_world_size())


@contextlib.contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Put every part of a model into evaluation mode, and each back into its own: one may be frozen on purpose."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:  # from the outside to the inside; `train` may do more than set the mode (LoRA)
            if module.training != mode:
                module.train(mode)


@contextlib.contextmanager
def _evaluating(torch: Any, model: Any, device: Any) -> Iterator[None]:
    """Evaluate, and leave the random numbers alone."""
    randomness = getattr(torch, device.type, None) if device.type != "cpu" else None
    state = None if randomness is None else randomness.get_rng_state()
    with torch.random.fork_rng([]), torch.no_grad(), evaluation_mode(model):
        try:
            yield
        finally:
            if randomness is not None:
                randomness.set_rng_state(state)
