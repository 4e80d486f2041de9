"""A Trainer whose evaluations generate: for translation, summaries and other sequences from sequences."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch

from runcast.core.errors import OptionError
from runcast.trainer.evaluation import PredictionOutput
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.settings.compatibility import NotHere
from runcast.trainer.trainer import Trainer

DEFAULT_LENGTH = 20  # of transformers' generate, where nothing says how long


@dataclass(kw_only=True)
class Seq2SeqTrainingArguments(TrainingArguments):
    """The settings of a Seq2SeqTrainer."""

    predict_with_generate: Annotated[bool, "Let evaluations generate, and compute metrics of what they do."] = False
    generation_max_length: Annotated[int | None, "The max_length of evaluations during the training."] = None
    generation_num_beams: Annotated[int | None, "The num_beams of evaluations during the training."] = None
    generation_config: Annotated[Any | str | None, "A GenerationConfig, or where one is saved."] = None
    sortish_sampler: Annotated[Any | str | None, NotHere("Use train_sampling_strategy='group_by_length'.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sortish_sampler:
            raise OptionError("sortish_sampler is not supported. Use train_sampling_strategy='group_by_length'.")


class Seq2SeqTrainer(Trainer):
    """A Trainer whose predictions are what `model.generate` makes, if the arguments say `predict_with_generate`.

    Settings of `generate` may be given to `evaluate` and `predict`; max_length and num_beams are otherwise those of the
    arguments.
    """

    _generation: dict[str, Any]

    def __init__(self, *parts: Any, **named: Any) -> None:
        self._generation = {}
        super().__init__(*parts, **named)
        config: Any = getattr(self.args, "generation_config", None)
        if config is not None:
            kind = type(self.model.generation_config)
            self.model.generation_config = kind.from_pretrained(config) if not isinstance(config, kind) else config

    def evaluate(self, *data: Any, **options: Any) -> dict[str, float]:
        """Evaluate as a Trainer does; what is left of the options goes to `generate`."""
        return super().evaluate(*data, **self._keep(options, ("eval_dataset", "ignore_keys", "metric_key_prefix")))

    def predict(self, *data: Any, **options: Any) -> PredictionOutput:
        """Predict as a Trainer does; what is left of the options goes to `generate`."""
        return super().predict(*data, **self._keep(options, ("test_dataset", "ignore_keys", "metric_key_prefix")))

    def prediction_step(
        self,
        model: Any,
        inputs: Any,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **generation: Any,
    ) -> tuple[Any, Any, Any]:
        """Compute the loss of a batch as a Trainer does, and generate from it."""
        generates = getattr(self.args, "predict_with_generate", False) and not prediction_loss_only
        loss, predictions, labels = super().prediction_step(
            model, inputs, not generates and prediction_loss_only, ignore_keys
        )
        if not generates:
            return loss, predictions, labels
        inputs = self._prepare_inputs(inputs)
        given = inputs.get("labels")
        if given is not None and getattr(inputs.get("decoder_input_ids"), "shape", None) == given.shape:
            made = ("decoder_input_ids", "decoder_attention_mask")  # of the labels, which are to be found
            inputs = {name: value for name, value in inputs.items() if name not in made}
        settings = {"synced_gpus": self.engine.is_sharded, **(generation or self._generation)}
        with torch.no_grad(), self.compute_loss_context_manager():
            tokens = self.model.generate(**inputs, **settings)
        return loss, self._padded(tokens), None if labels is None else self._padded(labels)

    def _keep(self, options: dict[str, Any], own: tuple[str, ...]) -> dict[str, Any]:
        """Keep what `generate` is to be given, and return the rest."""
        given = {name: value for name, value in options.items() if name not in own and value is not None}
        if "max_new_tokens" not in given and (length := getattr(self.args, "generation_max_length", None)):
            given.setdefault("max_length", length)
        if beams := getattr(self.args, "generation_num_beams", None):
            given.setdefault("num_beams", beams)
        self._generation = given
        return {name: value for name, value in options.items() if name in own}

    def _padded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pad tokens to the length that the model's generation config has, as transformers does."""
        config = self.model.generation_config
        limit, new = getattr(config, "max_length", None) or DEFAULT_LENGTH, getattr(config, "max_new_tokens", None)
        wanted = limit if tokens.shape[-1] < limit else new + 1 if new is not None else 0
        sources = (self.processing_class, getattr(self.model, "config", None))
        names = ("pad_token_id", "eos_token_id")
        pads = (getattr(source, name, None) for source in sources for name in names)
        pad = next((each for each in pads if isinstance(each, int)), None)
        if pad is None:
            raise OptionError("Generated tokens cannot be padded: set pad_token_id in the configuration of the model.")
        return torch.nn.functional.pad(tokens, (0, max(0, wanted - tokens.shape[-1])), value=pad)
