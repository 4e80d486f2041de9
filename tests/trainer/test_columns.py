"""The data that scripts bring: columns that the model does not take, texts, tokens of unequal length."""

import pytest
import torch
from torch import nn

import runcast
from runcast.core.errors import OptionError
from runcast.trainer.data.collate import UsedColumns, collate_examples
from runcast.trainer.trainer import Trainer
from tests.adapters.tiny_transformers import TinyConfig, TinyModel, examples, transformers

pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = {"max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 0.1, "logging_steps": 1, "use_cpu": True}
SETTINGS |= {"report_to": "none", "disable_tqdm": True, "save_strategy": "no"}


def rows(count=12):
    """Make examples with columns that no tensor could hold, beside those of the model."""
    odd = [None, "text", [1] * 3, [[1], [2, 3]]]
    return [{"id": f"row {n}", "odd": odd[n % 4], "ragged": [0] * n, **one} for n, one in enumerate(examples(count))]


def train(library, data, folder, **parts):
    """Train a tiny model with either library; return the losses and the evaluation's."""
    args = library.TrainingArguments(str(folder), **SETTINGS)
    trainer = library.Trainer(TinyModel(TinyConfig()), args, train_dataset=data, eval_dataset=data, **parts)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry] + [trainer.evaluate()["eval_loss"]]


def test_columns_that_the_model_does_not_take_are_dropped_before_collating(tmp_path):
    """None, texts and ragged lists among them; the losses are those of transformers."""
    theirs, ours = (train(library, rows(), tmp_path / library.__name__) for library in (transformers, runcast))

    assert ours == pytest.approx(theirs, rel=1e-6)


def test_the_columns_of_a_table_are_not_even_read(tmp_path):
    """A dataset like those of `datasets` drops them itself; a single entry may still have any name."""

    class Table:
        def __init__(self, rows):
            self.rows = rows

        column_names = property(lambda self: list(self.rows[0]))

        def remove_columns(self, names):
            return Table([{key: value for key, value in row.items() if key not in names} for row in self.rows])

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, index):
            return self.rows[index]

    seen = []

    def collate(batch):
        seen.append(set(batch[0]))
        return transformers.default_data_collator(batch)

    train(runcast, Table(rows()), tmp_path, data_collator=collate)
    assert {frozenset(each) for each in seen} == {frozenset(("x", "labels"))}
    assert train(runcast, Table(rows()), tmp_path) == train(runcast, rows(), tmp_path)

    args = runcast.TrainingArguments(str(tmp_path), **SETTINGS)
    one = [{"pixels": row["x"], "label": row["labels"]} for row in rows()]
    assert Trainer(nn.Linear(4, 2), args, train_dataset=one).train().global_step == 3


@pytest.mark.parametrize("drops", [True, False])
def test_a_collator_that_asks_for_a_dropped_column_gets_it(tmp_path, drops):
    """Dropped ones are not listed; with remove_unused_columns=False they are."""
    seen = []

    def collate(batch):
        seen.append(("id" in batch[0], len(batch[0]["id"])))
        return {"x": torch.stack([one["x"] for one in batch]), "labels": torch.tensor([1] * len(batch))}

    args = runcast.TrainingArguments(str(tmp_path), **SETTINGS, remove_unused_columns=drops)
    Trainer(TinyModel(TinyConfig()), args, collate, rows()).train()

    assert {listed for listed, _ in seen} == {not drops}
    assert min(length for _, length in seen) == 5


@pytest.fixture(scope="module")
def tokenizer():
    """Train a tokenizer of words on the spot."""
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"])
    words.train_from_iterator(["the cat sat on the mat", "a dog ran"], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


def test_a_tokenizer_alone_pads_the_batches(tmp_path, tokenizer):
    """To the longest of each batch, with an attention mask; the losses are those of transformers."""
    texts = ["the cat", "a dog ran on", "the mat sat", "cat", "a dog", "the the the cat sat"] * 3
    data = [{"text": text, **tokenizer(text), "label": n % 2} for n, text in enumerate(texts)]
    found = []
    for library in (transformers, runcast):
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            num_labels=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        model = transformers.BertForSequenceClassification(config)
        args = library.TrainingArguments(str(tmp_path / library.__name__), **SETTINGS)
        trainer = library.Trainer(model, args, train_dataset=data, processing_class=tokenizer)
        trainer.train()
        found.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])

    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_streams_and_dicts_of_datasets_drop_them_too(tmp_path):
    """An iterable, and several evaluation sets, one of them evaluated by its name."""

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(rows())

    args = runcast.TrainingArguments(str(tmp_path), **SETTINGS)
    trainer = Trainer(TinyModel(TinyConfig()), args, train_dataset=Stream(), eval_dataset={"a": rows(5), "b": Stream()})
    trainer.train()

    assert {"eval_a_loss", "eval_b_loss"} <= trainer.evaluate().keys()
    assert "eval_loss" in trainer.evaluate("b")
    with pytest.raises(runcast.OptionError, match=r"no evaluation dataset 'c'. The Trainer has: \['a', 'b'\]"):
        trainer.evaluate("c")


@pytest.mark.parametrize("strategy", ["sequential", "group_by_length"])
def test_the_order_of_the_data_follows_the_strategy(tmp_path, strategy):
    """As it is, or the longest first in runs of four batches; the first batch has the longest of all."""
    seen = []

    def collate(batch):
        seen.extend(int(one["x"][0]) for one in batch)
        return {"x": torch.stack([one["x"] for one in batch]), "labels": torch.tensor([1] * len(batch))}

    data = [{"x": torch.tensor([float(n), 0, 0, 0]), "labels": 0, "length": n} for n in range(12)]
    settings = {**SETTINGS, "num_train_epochs": 1, "max_steps": -1, "train_sampling_strategy": strategy}
    Trainer(TinyModel(TinyConfig()), runcast.TrainingArguments(str(tmp_path), **settings), collate, data).train()

    assert sorted(seen) == list(range(12))
    assert (seen == list(range(12))) if strategy == "sequential" else seen[0] == 11


@pytest.mark.parametrize("first", [0, 1])
def test_a_dropped_column_may_be_missing_in_any_example(tmp_path, first):
    """As an optional field of JSON lines: whichever example a batch begins with."""
    data = [{"source": "web", **one} if n % 2 == first else one for n, one in enumerate(examples(12))]

    theirs, ours = (train(library, data, tmp_path / library.__name__) for library in (transformers, runcast))

    assert ours == pytest.approx(theirs, rel=1e-6)


def test_a_column_that_the_model_takes_is_in_each_example_or_the_batch_is_refused():
    """It is not left out because the first example has none."""
    collate = UsedColumns(collate_examples, ["x", "weights"], ["labels"])
    one, other = {"x": 1.0, "labels": 1, "source": "web"}, {"x": 2.0, "labels": 0, "weights": 0.5, "source": "web"}

    for batch in ([one, other], [other, one]):
        with pytest.raises(OptionError, match="The examples of a batch differ in their entries: weights"):
            collate(batch)


@pytest.mark.parametrize("place", [0, 1])
def test_a_collator_may_leave_out_examples_that_are_none(place):
    """As a dataset returns them for files that cannot be read; the others come without what the model does not take."""
    seen = []
    collate = UsedColumns(lambda batch: seen.extend(batch), ["x"], ["labels"])
    batch = [{"x": 1.0, "labels": 1, "source": "web"}]
    batch.insert(place, None)

    collate(batch)

    assert [one for one in seen if one is not None] == [{"x": 1.0, "labels": 1}]
