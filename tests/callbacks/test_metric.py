"""A metric of what a model really makes: of its outputs, and of the texts that it generates."""

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from runcast.callbacks.metric import MetricCallback
from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.stopping import EarlyStoppingCallback
from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer

WORDS = ["<pad>", "</s>", "<unk>", "one", "two", "three", "four", "five"]


def accuracy(predictions, labels):
    """Compute the share of right answers."""
    return sum(int(p.argmax() == t) for p, t in zip(predictions, labels, strict=True)) / len(labels)


class Sign(nn.Module):
    """Knows whether numbers sum up to more than zero, without having learnt it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.frozen = nn.Dropout(0.5).eval()
        nn.init.zeros_(self.linear.bias)
        self.linear.weight.data = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])

    def forward(self, x, labels=None):
        logits = self.linear(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits, "twice": 2 * logits}


POINTS = [
    {"x": [1.0, 2.0], "labels": 1, "name": "a", "weight": 2.0},
    {"x": [-1.0, -2.0], "labels": 0, "name": "b", "weight": 1.0},
    {"x": [3.0, -1.0], "labels": 0, "name": "c", "weight": 3.0},
]


def run(stage, callback, model, **context):
    """Log an evaluation; return what is in it then."""
    return stage(callback, context={"model": model, **context}).log(eval_loss=1.0)


def test_the_metric_joins_those_of_the_evaluation(stage):
    """Under its name, behind eval_; two of three are right."""
    logs = run(stage, MetricCallback(accuracy, POINTS, batch_size=2), Sign())

    assert logs == {"eval_loss": 1.0, "eval_accuracy": pytest.approx(2 / 3)}


def test_of_several_datasets_the_first_carries_it(stage):
    """Once for each evaluation, however often one evaluates."""
    training = stage(MetricCallback(accuracy, POINTS), context={"model": Sign()})

    found = []
    for _ in range(2):
        for dataset in ("a", "b"):
            logs = {f"eval_{dataset}_loss": 1.0, f"eval_{dataset}_runtime": 2.0}
            training.event("on_log", logs=logs)
            found.append("eval_accuracy" in logs)

    assert found == [True, False, True, False]


def test_several_numbers_keep_their_names(stage):
    """A dict of numbers, tensors of one element among them."""

    def scores(predictions, labels):
        return {"f1": torch.tensor(0.5), "eval_em": 1, "my/own": 2.0}

    assert run(stage, MetricCallback(scores, POINTS), Sign()) == {
        "eval_loss": 1.0,
        "eval_f1": 0.5,
        "eval_em": 1.0,
        "my/own": 2.0,
    }


def test_numbers_of_any_library_and_nested_ones_are_kept(stage):
    """As those of compute_metrics; what is undefined is None."""
    values = {"f1": torch.tensor(0.5), "per_class": {"cat": np.float32(0.25)}, "auc": None}

    logs = run(stage, MetricCallback(lambda *_: values, POINTS), Sign())

    assert logs == {"eval_loss": 1.0, "eval_f1": 0.5, "eval_per_class": {"cat": 0.25}, "eval_auc": None}
    assert type(logs["eval_f1"]) is type(logs["eval_per_class"]["cat"]) is float


def test_outputs_and_labels_are_chosen_by_name(stage):
    """One: a list of them. Several: a tuple for each example. Texts stay texts."""
    seen = []
    callback = MetricCallback(
        lambda p, t: seen.extend([p, t]) or 0.0,
        POINTS,
        output_cols=["twice", "logits"],
        label_cols=["name", "weight"],
        batch_size=2,
    )
    run(stage, callback, Sign())

    predictions, labels = seen
    assert [[part.tolist() for part in prediction] for prediction in predictions] == [
        [[-6.0, 6.0], [-3.0, 3.0]],
        [[6.0, -6.0], [3.0, -3.0]],
        [[-4.0, 4.0], [-2.0, 2.0]],
    ]
    assert [(name, float(weight)) for name, weight in labels] == [("a", 2.0), ("b", 1.0), ("c", 3.0)]


@pytest.mark.parametrize("kind", ["tuples", "loader", "iterable"])
def test_examples_may_be_tuples_batches_or_a_stream(stage, kind):
    """As the datasets of a Trainer may."""
    pairs = [(torch.tensor(point["x"]), point["labels"]) for point in POINTS]
    data = {
        "tuples": pairs,
        "loader": torch.utils.data.DataLoader(pairs, batch_size=2),
        "iterable": iter([{key: point[key] for key in ("x", "labels")} for point in POINTS]),
    }[kind]

    assert run(stage, MetricCallback(accuracy, data), Sign())["eval_accuracy"] == pytest.approx(2 / 3)


def test_the_training_goes_on_as_if_nothing_had_been(stage):
    """Each module's mode, the gradients and the random numbers are as before; also when the metric raises."""
    model, seen = Sign(), []
    random = torch.rand(1, generator=torch.Generator().manual_seed(5))

    def fail(predictions, labels):
        seen.append((model.training, predictions[0].requires_grad))
        raise ValueError("out of luck")

    shuffled = torch.utils.data.DataLoader([{"x": torch.ones(2), "labels": 1}] * 4, batch_size=2, shuffle=True)
    torch.manual_seed(5)
    with pytest.raises(ValueError, match="out of luck\nThe callback MetricCallback raised in on_log at step 1"):
        run(stage, MetricCallback(fail, shuffled), model)

    assert torch.equal(torch.rand(1), random)
    assert (model.training, model.frozen.training, seen) == (True, False, [(True, False)])


def test_a_label_that_is_not_there_is_an_error(stage):
    """The message lists what there is."""
    with pytest.raises(OptionError, match=r"label_cols=\['target'\], but an example has only: labels, name, weight, x"):
        run(stage, MetricCallback(accuracy, POINTS, label_cols=["target"]), Sign())


@pytest.mark.parametrize(
    ("wrong", "message"), [({"at": "step"}, "at='step' is unknown"), ({"batch_size": 0}, "batch_size=0 must be")]
)
def test_a_wrong_setting_is_refused(wrong, message):
    """When the callback is made."""
    with pytest.raises(OptionError, match=message):
        MetricCallback(accuracy, POINTS, **wrong)


def trainer_of(tmp_path, *callbacks, **settings):
    """Make a Trainer of the model that knows already."""
    chosen = {
        "output_dir": str(tmp_path),
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "learning_rate": 1e-9,
        "per_device_train_batch_size": 1,
        **settings,
    }
    data = [{key: torch.tensor(point[key]) for key in ("x", "labels")} for point in POINTS]
    quiet = ProgressCallback(Console(quiet=True))
    return Trainer(
        Sign(), TrainingArguments(**chosen), train_dataset=data, eval_dataset=data, callbacks=[*callbacks, quiet]
    )


def test_at_each_epoch_without_evaluations(tmp_path):
    """Logged at the last step of each epoch, also where that step is logged anyway."""
    trainer = trainer_of(tmp_path, MetricCallback(accuracy, POINTS, at="epoch"), num_train_epochs=2, logging_steps=3)

    trainer.train()

    assert [
        (entry["step"], entry["eval_accuracy"]) for entry in trainer.state.log_history if "eval_accuracy" in entry
    ] == [
        (3, pytest.approx(2 / 3)),
        (6, pytest.approx(2 / 3)),
    ]


def test_the_best_model_and_early_stopping_may_go_by_it(tmp_path):
    """metric_for_best_model is the callback's metric."""
    trainer = trainer_of(
        tmp_path,
        MetricCallback(accuracy, POINTS),
        EarlyStoppingCallback(1),
        num_train_epochs=9,
        eval_strategy="epoch",
        metric_for_best_model="accuracy",
    )

    trainer.train()

    assert (trainer.state.best_metric, trainer.state.global_step) == (pytest.approx(2 / 3), 6)
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def tokenizer():
    """Make a tokenizer of eight words."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="module")
def reader():
    """Make a tiny T5, from its configuration."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0, dropout_rate=0.5
    )
    return transformers.T5ForConditionalGeneration(config)


@pytest.fixture(scope="module")
def writer():
    """Make a tiny GPT-2, from its configuration."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=8, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1, pad_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


SENTENCES = [
    {"input_ids": [3, 4, 5], "attention_mask": [1, 1, 1], "labels": [6, 7, 1]},
    {"input_ids": [4, 5], "attention_mask": [1, 1], "labels": [3, -100, 1]},
    {"input_ids": [5, 6, 7, 3], "attention_mask": [1, 1, 1, 1], "labels": [4, 1]},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_generated_texts_are_compared_with_the_wanted_ones(stage, request, tokenizer, kind):
    """Exactly what `generate` writes for each sentence alone, without its prompt; ignored labels are left out."""
    model, seen = request.getfixturevalue(kind).train(), []
    how = {"max_new_tokens": 3, "do_sample": False, "suppress_tokens": [0, 1, 2]}
    tokenizer.padding_side = "left" if kind == "writer" else "right"
    callback = MetricCallback(
        lambda p, t: seen.extend([p, t]) or 0.5,
        SENTENCES,
        batch_size=2,
        predict_with_generate=True,
        generate_kwargs=how,
        name="exact_match",
    )

    logs = run(stage, callback, model, processing_class=tokenizer)

    alone = []
    for sentence in SENTENCES:
        inputs = {key: torch.tensor([sentence[key]]) for key in ("input_ids", "attention_mask")}
        tokens = model.eval().generate(**inputs, **how)[0]
        tokens = tokens[len(sentence["input_ids"]) :] if kind == "writer" else tokens
        alone.append(tokenizer.decode(tokens, skip_special_tokens=True))
    assert all(len(text.split()) == 3 for text in alone)
    assert logs["eval_exact_match"] == 0.5
    assert seen[0] == alone
    assert seen[1] == ["four five", "one", "two"]


@pytest.mark.filterwarnings("ignore")
def test_labels_may_be_texts_and_the_tokenizer_ones_own(stage, reader, tokenizer):
    """No label is decoded then."""
    seen = []
    data = [{"input_ids": sentence["input_ids"], "answer": "four five"} for sentence in SENTENCES]
    callback = MetricCallback(
        lambda p, t: seen.append(t) or 0.0,
        data,
        label_cols=["answer"],
        predict_with_generate=True,
        generate_kwargs={"max_new_tokens": 2},
        processing_class=tokenizer,
    )
    tokenizer.padding_side = "right"

    run(stage, callback, reader.train())

    assert seen == [["four five"] * 3]
    assert reader.training


def test_generating_without_a_tokenizer_is_an_error(stage, reader):
    """The message says what to give."""
    with pytest.raises(OptionError, match="give processing_class=tokenizer"):
        run(stage, MetricCallback(accuracy, SENTENCES, predict_with_generate=True), reader)


@pytest.mark.filterwarnings("ignore")
def test_logits_of_a_model_of_transformers(stage, reader, tokenizer):
    """Without generating, the labels go into the forward pass and padding is an ignored label."""
    seen = []
    tokenizer.padding_side = "right"
    callback = MetricCallback(lambda p, t: seen.extend([p, t]) or 0.0, SENTENCES)

    run(stage, callback, reader, processing_class=tokenizer)

    assert [tuple(prediction.shape) for prediction in seen[0]] == [(3, 8)] * 3
    assert [label.tolist() for label in seen[1]] == [[6, 7, 1], [3, -100, 1], [4, 1, -100]]
