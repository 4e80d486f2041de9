"""Each example of a stream is read once, whatever the number of ranks and of worker processes."""

import itertools

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from runcast.core.errors import OptionError
from runcast.trainer.data.loader import make_loader
from runcast.trainer.data.order import set_epoch
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than processors


class Plain:
    """Can be iterated, and is no dataset of torch."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


class Unaware(IterableDataset):
    """Gives everything to everybody."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        yield from range(self.count)


class Sharing(Unaware):
    """Shares out its examples among the workers itself."""

    def __iter__(self):
        info = get_worker_info()
        yield from range(self.count) if info is None else range(info.id, self.count, info.num_workers)


class Epochs(Plain):
    """Begins elsewhere in each epoch, and knows its length."""

    epoch = -1

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(range(self.epoch * 100, self.epoch * 100 + self.count))


def read(stream, workers, ranks, *, train=False, batch_size=2, epoch=0, **settings):
    """Read one epoch, rank by rank."""
    args = TrainingArguments(
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        dataloader_num_workers=workers,
        report_to="none",
        **settings,
    )
    found = []
    for rank in range(ranks):
        loader = make_loader(stream, args, train=train, device=CPU, ranks=Ranks(rank, ranks))
        set_epoch(loader, args, epoch)
        found.append([int(i) for batch in loader for i in batch])
    return found


@pytest.mark.parametrize("kind", [Plain, Unaware, Sharing])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_each_example_is_evaluated_once(kind, workers, ranks):
    """Across workers and ranks, whether the stream knows of workers or not."""
    found = read(kind(13), workers, ranks)

    assert sorted(itertools.chain(*found)) == list(range(13))


@pytest.mark.parametrize("kind", [Plain, Unaware])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_do_not_change_the_order(kind, workers):
    """Nor what a batch consists of."""
    assert read(kind(13), workers, 1) == [list(range(13))]
    assert read(kind(13), workers, 2) == [[0, 2, 4, 6, 8, 10, 12], [1, 3, 5, 7, 9, 11]]
    assert read(kind(13), workers, 2, train=True) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]


@pytest.mark.parametrize("kind", [Plain, Unaware, Sharing])
def test_a_ready_loader_stays_as_it_is(kind):
    """What its dataset gives to each worker is the user's business."""
    loader = DataLoader(kind(4), batch_size=2)
    args = TrainingArguments(report_to="none")

    assert make_loader(loader, args, train=True, device=CPU) is loader


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_a_stream_is_told_the_epoch(make, workers, persistent):
    """In every worker, also in one that lives on."""
    stream, seen = Epochs(4), []
    args = TrainingArguments(
        per_device_train_batch_size=2,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=persistent,
        report_to="none",
    )
    loader = make_loader(stream, args, train=True, device=CPU)
    for epoch in range(3):
        set_epoch(loader, args, epoch)
        seen.append([int(i) for batch in loader for i in batch])

    assert seen == [[0, 1, 2, 3], [100, 101, 102, 103], [200, 201, 202, 203]]
    assert len(loader) == 2


def examples(make, count):
    """Return so many digits."""
    digits = make.Digits(count)
    return [digits[index] for index in range(count)]


class Again:
    """Can be iterated as often as one likes; knows its length if told."""

    def __init__(self, examples):
        self.examples, self.epochs = examples, []

    def __iter__(self):
        return iter(self.examples)


class Sized(Again):
    """Knows its length, and notes the epochs."""

    def __len__(self):
        return len(self.examples)

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


def test_a_stream_with_a_length_needs_no_number_of_steps(make):
    """Epochs are counted, and it is told each."""
    stream = Sized(examples(make, 20))
    trainer = make(train_dataset=stream, num_train_epochs=3, per_device_train_batch_size=8)

    assert trainer.train().global_step == 9
    assert trainer.state.epoch == 3
    assert stream.epochs == [0, 1, 2]


def test_data_that_ends_early_is_said(make, caplog):
    """A generator is read once; the line says at which step of how many the training ended."""
    data = (example for example in examples(make, 16))
    trainer = make(train_dataset=data, max_steps=100, per_device_train_batch_size=4)

    assert trainer.train().global_step == 4
    assert "The data ended at step 4 of 100" in caplog.text


def test_a_length_that_is_too_long_is_said(make, caplog):
    """The steps that it promised do not come."""

    class Lying(Sized):
        def __len__(self):
            return 2 * len(self.examples)

    trainer = make(train_dataset=Lying(examples(make, 16)), num_train_epochs=1, per_device_train_batch_size=4)

    assert trainer.train().global_step == 4
    assert "The data ended at step 4 of 8" in caplog.text


@pytest.mark.parametrize("stop", ["should_training_stop", "should_epoch_stop"])
def test_a_training_that_is_stopped_has_enough_data(make, caplog, stop):
    """Nothing is said."""
    trainer = make(train_dataset=Sized(examples(make, 16)), num_train_epochs=1, per_device_train_batch_size=4)
    trainer.add_callback("on_step_end", lambda args, state, control, **kwargs: setattr(control, stop, True))

    assert trainer.train().global_step == 1
    assert "ended at step" not in caplog.text


def test_data_without_a_batch_is_an_error(make):
    """A generator that was read already."""
    with pytest.raises(OptionError, match="no batch: it is empty, or a generator that was read already"):
        make(train_dataset=iter([]), max_steps=3).train()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 2), (4, 1), (1, 4)])
def test_a_stream_is_continued_with_other_batches(make, tmp_path, workers, batch_size, accumulation):
    """Behind the last example that was used."""
    seen = []

    def collate(batch):
        seen.extend(float(example["image"].sum()) for example in batch)
        return torch.utils.data.default_collate(batch)

    data = examples(make, 24)
    order = [float(example["image"].sum()) for example in data]
    settings = {
        "output_dir": str(tmp_path),
        "max_steps": 6,
        "data_collator": collate,
        "dataloader_num_workers": workers,
    }
    make(
        train_dataset=Again(data),
        save_strategy="steps",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        **settings | {"max_steps": 3},
    ).train()
    first, seen[:] = list(seen), []
    trainer = make(
        train_dataset=Again(data),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        **settings,
    )
    trainer.train(resume_from_checkpoint=True)

    assert trainer.state.global_step == 6
    if not workers:  # what worker processes collate is not seen here
        assert first[:12] == order[:12]
        assert seen[:12] == order[12:]


def test_a_stream_whose_len_says_that_it_is_not_known_is_read():
    """As a pipe of torch has it, made of a generator."""

    class Pipe(Unaware):
        def __len__(self):
            raise TypeError("Pipe has no valid length")

    loader = make_loader(Pipe(4), TrainingArguments(max_steps=1), train=True, device=CPU)

    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3]]
