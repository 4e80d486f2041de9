"""What goes into a model and what comes out, for every kind of model and batch."""

import dataclasses

import pytest
import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.model.batch_reader import BatchReader, parameters_of, unwrapped
from runcast.trainer.model.items import count_items

IMAGES, LABELS = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])


class ByName(nn.Module):
    """Takes an image by name."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, image):
        return self.linear(image)


class WithLoss(ByName):
    """Computes its own loss, and returns it as it is told to."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, image, labels=None):
        logits = self.linear(image)
        loss = nn.functional.cross_entropy(logits, labels)
        return {"dict": {"loss": loss, "logits": logits}, "tuple": (loss, logits), "loss": loss}[self.kind]


@dataclasses.dataclass
class Example:
    """A batch as a dataclass."""

    image: torch.Tensor
    labels: torch.Tensor


@pytest.mark.parametrize(
    "batch",
    [
        {"image": IMAGES, "labels": LABELS},
        {"image": IMAGES, "label": LABELS},
        {"x": IMAGES, "target": LABELS},
        {"image": IMAGES, "labels": LABELS, "file name": ["a", "b", "c", "d"]},
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        Example(IMAGES, LABELS),
    ],
    ids=["dict", "label", "other names", "unused entry", "tuple", "list", "dataclass"],
)
def test_a_module_that_returns_logits_gets_cross_entropy(batch):
    """A module written by hand, or one of timm, trains unchanged on whole-number labels."""
    model = ByName()

    result = BatchReader(model, None, None)(model, batch)

    assert torch.equal(result.loss, nn.functional.cross_entropy(model(IMAGES), LABELS))
    assert torch.equal(result.predictions, model(IMAGES))
    assert result.labels is LABELS


@pytest.mark.parametrize("kind", ["dict", "tuple", "loss"])
@pytest.mark.parametrize("name", ["labels", "label"])
def test_the_loss_of_the_model_is_taken_if_it_computes_one(kind, name):
    """As a dict, a tuple or a bare loss."""
    model = WithLoss(kind)

    result = BatchReader(model, None, None)(model, {"image": IMAGES, name: LABELS})

    assert torch.equal(result.loss, nn.functional.cross_entropy(model.linear(IMAGES), LABELS))
    assert (result.predictions is None) == (kind == "loss")


def test_a_loss_function_of_ones_own_beats_that_of_the_model():
    """compute_loss gets the outputs and the labels, as any criterion of torch."""
    model = ByName()

    result = BatchReader(model, None, nn.MSELoss())(model, (IMAGES, torch.zeros(4, 2)))

    assert torch.equal(result.loss, model(IMAGES).square().mean())


def test_without_labels_there_is_no_loss():
    """One may predict what has no labels."""
    model = ByName()

    assert BatchReader(model, None, None)(model, {"image": IMAGES}).loss is None
    assert BatchReader(model, None, None)(model, IMAGES).loss is None


def test_a_transformers_model_computes_its_loss():
    """Its outputs are a ModelOutput."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_head=1, n_embd=8, vocab_size=11, n_positions=8, bos_token_id=0, eos_token_id=1
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    tokens = torch.randint(0, 11, (2, 8))

    result = BatchReader(model, None, None)(model, {"input_ids": tokens, "labels": tokens})

    assert torch.equal(result.loss, model(input_ids=tokens, labels=tokens).loss)
    assert result.predictions.shape == (2, 8, 11)


def test_names_that_the_model_does_not_take_are_listed():
    """The message says what the batch has and what forward takes."""
    model = ByName()

    with pytest.raises(
        OptionError, match=r"batch has \['a', 'b', 'labels'\], but the model's forward takes \['image'\]"
    ):
        BatchReader(model, None, None)(model, {"a": IMAGES, "b": IMAGES, "labels": LABELS})


def test_tokens_are_counted_where_each_example_has_many_labels():
    """A mean over tokens is weighed by tokens.

    Without those that are ignored, and without the first where the next one is predicted.
    """
    labels = torch.tensor([[1, 2, -100], [3, -100, -100]])

    assert count_items({"input_ids": labels, "labels": labels}) == 3
    assert count_items({"input_ids": labels, "labels": labels}, shifted=True) == 1
    assert count_items((IMAGES, LABELS)) == 4
    assert count_items({"image": IMAGES}) == 4


class Adapted(nn.Module):
    """Passes everything on to a model inside, as peft does where it is not told the task."""

    def __init__(self, model):
        super().__init__()
        self.inside = model

    def get_base_model(self):
        return self.inside

    def forward(self, *args, **kwargs):
        return self.inside(*args, **kwargs)


class AnyNames(nn.Module):
    """A module by hand around a model, which takes any names."""

    def __init__(self, model):
        super().__init__()
        self.inside = model

    def forward(self, **batch):
        return self.inside(**batch)


WRAPPERS = {
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "DataParallel": nn.DataParallel,
    "peft": Adapted,
    "compiled peft": lambda model: torch.compile(Adapted(model), backend="eager"),
    "any names": AnyNames,
}


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_what_is_around_a_model_does_not_hide_that_it_computes_its_loss(wrap):
    """A language model predicts the next token: cross entropy of its logits and the labels would be another loss."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_head=1, n_embd=8, vocab_size=11, n_positions=8, bos_token_id=0, eos_token_id=1
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    tokens = torch.randint(0, 11, (2, 8))
    outer = wrap(model)

    result = BatchReader(outer, None, None)(outer, {"input_ids": tokens, "labels": tokens})

    assert result.loss.item() == pytest.approx(model(input_ids=tokens, labels=tokens).loss.item())
    assert unwrapped(outer) is (outer if wrap is AnyNames else model)
    assert parameters_of(outer) == ([] if wrap is AnyNames else parameters_of(model))


def test_a_criterion_is_given_the_labels_that_a_model_of_any_names_does_not_get():
    """With compute_loss, the model is called with its inputs alone."""
    model = AnyNames(ByName())

    result = BatchReader(model, None, nn.CrossEntropyLoss())(model, {"image": IMAGES, "labels": LABELS})

    assert torch.equal(result.loss, nn.functional.cross_entropy(model(image=IMAGES), LABELS))


def test_labels_of_another_name_are_not_taken_for_the_usual_ones():
    """A batch may have only some of those that the model takes."""

    class Two(ByName):
        def forward(self, image, labels=None, aux_labels=None):
            assert labels is None
            return {"loss": nn.functional.cross_entropy(self.linear(image), aux_labels)}

    model = Two()

    result = BatchReader(model, None, None)(model, {"image": IMAGES, "aux_labels": LABELS})

    assert result.labels is LABELS
    assert result.loss > 0
