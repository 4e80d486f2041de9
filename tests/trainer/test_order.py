"""A resumed training goes on with the data where it was, also with other batches and with a ready DataLoader."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from runcast.core.errors import OptionError
from runcast.trainer.data.samplers import EpochOrder
from runcast.trainer.ranks.ranks import Ranks


class Ids(torch.utils.data.Dataset):
    """Examples that are as good as their number; those that were trained on are kept with the step."""

    def __init__(self, count):
        self.x = torch.randn(count, 64, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"image": self.x[index], "labels": index % 10, "id": index}


class Trained:
    """Notes the ids of each batch that goes into the model, by epoch."""

    def __init__(self):
        self.epochs = {}

    def __call__(self, batch, epoch):
        self.epochs.setdefault(epoch, []).extend(batch["id"].tolist())


def run(make, folder, data, *, stop=None, resume=None, **settings):
    """Train, to the end or until a checkpoint at a step; return the trainer and the ids by epoch."""
    seen = Trained()
    settings = {"num_train_epochs": 3, "logging_steps": 1000, "output_dir": str(folder)} | settings
    settings |= {"remove_unused_columns": False}
    trainer = make(train_dataset=data, **settings)
    forward = trainer.engine.forward

    def noting(batch, **options):
        seen(batch, int(trainer.state.epoch + 1e-9))
        return forward(batch, **options)

    trainer.engine.forward = noting

    def save(args, state, control, **kwargs):
        control.should_save = state.global_step == stop

    def interrupt(args, state, control, **kwargs):
        raise KeyboardInterrupt

    if stop is None:
        trainer.train(resume_from_checkpoint=resume)
    else:
        trainer.add_callback("on_step_end", save)
        trainer.add_callback("on_save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return trainer, seen.epochs


SPLITS = [((2, 2), (4, 1)), ((4, 1), (2, 2)), ((1, 4), (2, 2)), ((2, 2), (1, 4))]


@pytest.mark.parametrize(
    ("before", "after", "stop", "workers"),
    [
        *((before, after, stop, 0) for before, after in SPLITS for stop in (1, 2, 5, 7)),
        *((before, after, 5, 2) for before, after in SPLITS if before == (2, 2)),
    ],
)
def test_the_same_number_of_examples_a_step_in_other_batches(make, tmp_path, before, after, stop, workers):
    """Of 16 examples four make a step: as many steps as without an interruption, each example once in each epoch."""
    names = ("per_device_train_batch_size", "gradient_accumulation_steps")
    own = {"dataloader_num_workers": workers}
    _, first = run(make, tmp_path, Ids(16), stop=stop, **own, **dict(zip(names, before, strict=True)))
    trainer, rest = run(make, tmp_path, Ids(16), resume=True, **own, **dict(zip(names, after, strict=True)))

    assert trainer.state.global_step == 12
    epochs = [first.get(epoch, []) + rest.get(epoch, []) for epoch in range(3)]
    assert [sorted(ids) for ids in epochs] == [list(range(16))] * 3


@pytest.mark.parametrize(
    ("before", "after", "stop", "steps"),
    [
        ((4, 1), (8, 1), 6, 9),  # half of the second epoch and the third are 24 examples: 3 steps of 8
        ((8, 1), (4, 1), 3, 9),  # 24 of 48 are left: 6 steps of 4
        ((4, 1), (8, 1), 4, 8),  # at the end of an epoch
        ((4, 1), (3, 2), 5, 10),  # 12 of 16 are left of the second epoch: 2 steps of 6, and 3 of the third
    ],
)
def test_another_number_of_examples_a_step_is_said_and_the_steps_are_right(
    make, tmp_path, caplog, before, after, stop, steps
):
    """The epochs are completed, each example once; the line names both numbers."""
    names = ("per_device_train_batch_size", "gradient_accumulation_steps")
    _, first = run(make, tmp_path, Ids(16), stop=stop, **dict(zip(names, before, strict=True)))
    trainer, rest = run(make, tmp_path, Ids(16), resume=True, **dict(zip(names, after, strict=True)))

    assert trainer.state.global_step == trainer.state.max_steps == steps
    assert sorted(i for part in (first, rest) for ids in part.values() for i in ids) == sorted([*range(16)] * 3)
    (line,) = [record.message for record in caplog.records if "examples a step" in record.message]
    assert f"written with {before[0] * before[1]} examples a step" in line
    assert f"takes {after[0] * after[1]}" in line
    assert f"with {steps - stop} steps left of {steps}" in line


def test_a_number_of_steps_that_was_asked_for_stays(make, tmp_path):
    """With max_steps, the training has that many, whatever a step takes, and reads on in the data."""
    run(make, tmp_path, Ids(16), stop=10, max_steps=20, per_device_train_batch_size=8)

    trainer, rest = run(make, tmp_path, Ids(16), resume=True, max_steps=20, per_device_train_batch_size=2)

    assert trainer.state.global_step == 20
    assert sum(len(ids) for ids in rest.values()) == 20


class WithRandom(Sampler):
    """An order of Python's or NumPy's own generator."""

    def __init__(self, data, generator):
        self.data, self.own = data, generator

    def __iter__(self):
        order = list(range(len(self.data)))
        self.own.shuffle(order)
        return iter(order)

    def __len__(self):
        return len(self.data)


class Rounds(Sampler):
    """Begins each round three places further on; which round it is, is its own state."""

    def __init__(self, data):
        self.data, self.rounds = data, 0

    def __iter__(self):
        begin, self.rounds = self.rounds * 3, self.rounds + 1
        return iter([(begin + place) % len(self.data) for place in range(len(self.data))])

    def __len__(self):
        return len(self.data)

    def state_dict(self):
        return {"rounds": self.rounds}

    def load_state_dict(self, state):
        self.rounds = state["rounds"]


class Positioned(Rounds):
    """Has an order of the epoch, and its place in it as its state, as torchdata's StatefulDistributedSampler."""

    used, goes_on_at = 0, None

    def set_epoch(self, epoch):
        self.rounds = epoch

    def __iter__(self):
        self.used, self.goes_on_at = self.goes_on_at or 0, None
        for index in [(self.rounds * 3 + place) % len(self.data) for place in range(self.used, len(self.data))]:
            self.used += 1
            yield index

    def state_dict(self):
        return {"used": self.used}

    def load_state_dict(self, state):
        self.goes_on_at = state["used"]


def generator():
    """Return a generator with a seed."""
    return torch.Generator().manual_seed(3)


READY = {
    "loader": lambda data: DataLoader(data, batch_size=2, shuffle=True, generator=generator()),
    "workers": lambda data: DataLoader(data, batch_size=2, shuffle=True, generator=generator(), num_workers=2),
    "sampler": lambda data: DataLoader(data, batch_size=2, sampler=RandomSampler(data, generator=generator())),
    "subset": lambda data: DataLoader(data, batch_size=2, sampler=SubsetRandomSampler(range(16), generator())),
    "weighted": lambda data: DataLoader(
        data, batch_size=2, sampler=WeightedRandomSampler([1.0] * 16, 16, replacement=False, generator=generator())
    ),
    "python": lambda data: DataLoader(data, batch_size=2, sampler=WithRandom(data, random.Random(3))),
    "numpy": lambda data: DataLoader(data, batch_size=2, sampler=WithRandom(data, np.random.default_rng(3))),
    "old numpy": lambda data: DataLoader(data, batch_size=2, sampler=WithRandom(data, np.random.RandomState(3))),
    "philox": lambda data: DataLoader(
        data, batch_size=2, sampler=WithRandom(data, np.random.Generator(np.random.Philox(3)))
    ),
    "batches": lambda data: DataLoader(
        data, batch_sampler=BatchSampler(RandomSampler(data, generator=generator()), 2, False)
    ),
    "global": lambda data: DataLoader(data, batch_size=2, shuffle=True),
    "rounds": lambda data: DataLoader(data, batch_size=2, sampler=Rounds(data)),
    "rounds, workers": lambda data: DataLoader(data, batch_size=2, sampler=Rounds(data), num_workers=2),
    "rounds of batches": lambda data: DataLoader(data, batch_sampler=BatchSampler(Rounds(data), 2, False)),
    "positioned": lambda data: DataLoader(data, batch_size=2, sampler=Positioned(data)),
}


@pytest.mark.parametrize("kind", READY)
@pytest.mark.parametrize("stop", [2, 8, 10])
def test_a_ready_loader_goes_on_in_its_own_order(make, tmp_path, kind, stop):
    """The state of a generator of its own is in the checkpoint: the very examples and weights of the uninterrupted one."""
    whole, expected = run(make, tmp_path / "whole", READY[kind](Ids(16)))

    _, first = run(make, tmp_path, READY[kind](Ids(16)), stop=stop)
    resumed, rest = run(make, tmp_path, READY[kind](Ids(16)), resume=True)

    assert {epoch: first.get(epoch, []) + rest.get(epoch, []) for epoch in range(3)} == expected
    assert [sorted(ids) for ids in expected.values()] == [list(range(16))] * 3
    assert make.same_weights(whole.model, resumed.model)


@pytest.mark.parametrize("kind", ["rounds", "rounds of batches", "positioned", "python"])
def test_a_sampler_goes_on_between_two_epochs(make, tmp_path, kind):
    """Saved when an epoch has ended."""
    _, expected = run(make, tmp_path / "whole", READY[kind](Ids(16)))
    make(
        train_dataset=READY[kind](Ids(16)),
        output_dir=str(tmp_path),
        num_train_epochs=2,
        save_strategy="epoch",
        logging_steps=1000,
    ).train()

    _, rest = run(make, tmp_path, READY[kind](Ids(16)), resume=True)

    assert rest == {2: expected[2]}


def test_a_ready_loader_goes_on_with_other_batches(make, tmp_path):
    """Behind the last example."""
    _, first = run(make, tmp_path, READY["sampler"](Ids(16)), stop=3, gradient_accumulation_steps=2)
    data = Ids(16)
    loader = DataLoader(data, batch_size=4, sampler=RandomSampler(data, generator=generator()))
    trainer, rest = run(make, tmp_path, loader, resume=True)

    assert trainer.state.global_step == 12
    assert sorted(first[0] + rest[0]) == list(range(16))
    assert (len(first[0]), len(rest[0])) == (12, 4)


def test_noise_of_the_datasets_own_generator_goes_on(make, tmp_path):
    """Augmentation by a generator of the dataset is that of the uninterrupted training."""

    class Noisy(Ids):
        def __init__(self, count):
            super().__init__(count)
            self.noise = torch.Generator().manual_seed(5)

        def __getitem__(self, index):
            example = super().__getitem__(index)
            return example | {"image": example["image"] + torch.randn(64, generator=self.noise)}

    whole, _ = run(make, tmp_path / "whole", Noisy(16))
    run(make, tmp_path, Noisy(16), stop=3)
    resumed, _ = run(make, tmp_path, Noisy(16), resume=True)

    assert make.same_weights(whole.model, resumed.model)


def test_persistent_workers_do_not_change_the_order(make, tmp_path):
    """A resumed training has the order of one with workers that stay."""
    workers = {"dataloader_num_workers": 1, "per_device_train_batch_size": 4}
    whole, expected = run(make, tmp_path / "whole", Ids(16), **workers, dataloader_persistent_workers=True)
    run(make, tmp_path, Ids(16), stop=6, **workers, dataloader_persistent_workers=True)
    resumed, rest = run(make, tmp_path, Ids(16), resume=True, **workers)

    assert rest[2] == expected[2]
    assert make.same_weights(whole.model, resumed.model)


@pytest.mark.parametrize("size", [16, 17, 19])
def test_the_first_examples_are_the_same_for_any_number_of_ranks(size):
    """So that a training may go on with other ranks; together they read everything."""
    orders = {}
    for ranks in (1, 2, 3, 4):
        parts = []
        for rank in range(ranks):
            order = EpochOrder(size, 7, Ranks(rank, ranks))
            order.set_epoch(2)
            parts.append(list(order))
        assert {len(part) for part in parts} == {len(order)}
        orders[ranks] = [index for turn in zip(*parts, strict=True) for index in turn]

    assert all(order[:size] == orders[1] for order in orders.values())
    assert sorted(orders[1]) == list(range(size))


@pytest.mark.parametrize("ready", [False, True])
def test_a_dropped_batch_that_was_the_only_one_is_said(make, ready):
    """Not a division by zero."""
    data = Ids(5)
    data = DataLoader(data, batch_size=8, drop_last=True) if ready else data

    with pytest.raises(OptionError, match="fewer examples than a batch of 8"):
        make(train_dataset=data, per_device_train_batch_size=8, dataloader_drop_last=True).train()
