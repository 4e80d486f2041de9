"""Optimizers and schedules that users bring: each of torch works, or one sentence says why not before the training."""

import inspect

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from runcast.callbacks.rates import LearningRateCallback, ReduceLROnPlateauCallback
from runcast.core.errors import OptionError

STEPS = 6
OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
}
SCHEDULES = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.5, total_iters=4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, STEPS, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=STEPS),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.OneCycleLR(o, 0.1, total_steps=STEPS - 2)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ExponentialLR(o, 0.9), lr_scheduler.ConstantLR(o, 0.5, 3)], optimizer=o
    ),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.01, anneal_epochs=3),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=10.0),
}


class Tokens(nn.Module):
    """Matrices only, the first of which may have sparse gradients."""

    def __init__(self, sparse=False):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(8, 4, sparse=sparse)
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


DATA = [{"tokens": torch.tensor(index % 8), "labels": torch.tensor(index % 2)} for index in range(64)]


def steps_by_hand(kind, schedule=None, steps=STEPS):
    """Train without a Trainer; return the weights and the rates that the steps were made with."""
    model = Tokens(sparse=kind is torch.optim.SparseAdam)
    optimizer, rates = make_optimizer(kind, model), []
    scheduler = None if schedule is None else schedule(optimizer)
    for step in range(steps):
        batch = DATA[8 * step : 8 * step + 8]
        logits = model(torch.stack([example["tokens"] for example in batch]))
        nn.functional.cross_entropy(logits, torch.stack([example["labels"] for example in batch])).backward()
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        optimizer.zero_grad()
    return model, rates


def make_optimizer(kind, model):
    """Make one of the parameters that it takes."""
    parameters = [model.embedding.weight] if kind is torch.optim.SparseAdam else list(model.parameters())
    return kind(parameters, lr=0.05)


class InOrder(torch.utils.data.Sampler):
    """The examples as they come."""

    def __iter__(self):
        return iter(range(len(DATA)))

    def __len__(self):
        return len(DATA)


@pytest.fixture
def own(make, tmp_path):
    """Return a function that makes a Trainer with an optimizer and a schedule of one's own."""

    def own(kind, schedule=None, **settings):
        model = Tokens(sparse=kind is torch.optim.SparseAdam)
        optimizer = make_optimizer(kind, model)
        settings = {
            "max_steps": STEPS,
            "logging_steps": 1,
            "max_grad_norm": 0,
            "output_dir": str(tmp_path / "out"),
            "eval_dataset": DATA[:8],
            "train_dataset": torch.utils.data.DataLoader(DATA, batch_size=8, sampler=InOrder()),
        } | settings
        return make(model=model, optimizers=(optimizer, schedule and schedule(optimizer)), **settings)

    return own


def rates_of(trainer, key="learning_rate"):
    """Return the rates that were logged."""
    return [entry[key] for entry in trainer.state.log_history if key in entry]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"LBFGS"}))
def test_every_optimizer_of_torch_trains_as_by_hand_and_resumes(own, make, tmp_path, name):
    """The same weights, bit for bit, also from a checkpoint in the middle."""
    kind = OPTIMIZERS[name]
    constant = SCHEDULES["LambdaLR"]
    model, rates = steps_by_hand(kind, constant)

    whole = own(kind, constant)
    whole.train()
    own(kind, constant, max_steps=3, save_strategy="steps", save_steps=3).train()
    resumed = own(kind, constant)
    resumed.train(resume_from_checkpoint=tmp_path / "out" / "checkpoint-3")

    assert make.same_weights(whole.model, model)
    assert make.same_weights(resumed.model, model)
    assert rates_of(whole) == pytest.approx(rates)


def test_an_optimizer_that_needs_a_closure_is_refused(own):
    """LBFGS computes the loss several times in a step."""
    with pytest.raises(OptionError, match=r"LBFGS needs a closure, .* Choose another optimizer"):
        own(torch.optim.LBFGS)


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"ReduceLROnPlateau"}))
def test_every_schedule_of_torch_gives_the_rates_that_it_gives_by_hand(own, make, tmp_path, name):
    """Each step is logged with its own rate, by the trainer and by the callback; a resume goes on with them."""
    _, rates = steps_by_hand(torch.optim.SGD, SCHEDULES[name])

    whole = own(torch.optim.SGD, SCHEDULES[name], callbacks=[LearningRateCallback(momentum=True)])
    whole.train()
    own(torch.optim.SGD, SCHEDULES[name], max_steps=4, save_strategy="steps", save_steps=4).train()
    resumed = own(torch.optim.SGD, SCHEDULES[name], callbacks=[LearningRateCallback])
    resumed.train(resume_from_checkpoint=tmp_path / "out" / "checkpoint-4")

    assert rates_of(whole) == rates_of(whole, "learning_rate/0") == pytest.approx(rates)
    assert rates_of(resumed) == pytest.approx(rates)
    assert rates_of(resumed, "learning_rate/0") == pytest.approx(rates[-2:])
    assert make.same_weights(whole.model, resumed.model)


def test_a_schedule_of_every_kind_is_tried():
    """Those of torch, and no other."""
    of_torch = {
        name
        for name, kind in vars(lr_scheduler).items()
        if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler) and not name.startswith("_")
    }

    assert of_torch - {"LRScheduler"} == SCHEDULES.keys() - {"SWALR"}


def test_a_plateau_is_told_the_metric_of_each_evaluation(own, tmp_path):
    """With patience 0, and a threshold that no loss reaches, the rate is a tenth from each evaluation on."""
    settings = {"eval_strategy": "steps", "eval_steps": 2}
    trainer = own(torch.optim.SGD, SCHEDULES["ReduceLROnPlateau"], **settings)
    trainer.train()
    own(
        torch.optim.SGD, SCHEDULES["ReduceLROnPlateau"], max_steps=4, save_strategy="steps", save_steps=4, **settings
    ).train()
    resumed = own(torch.optim.SGD, SCHEDULES["ReduceLROnPlateau"], **settings)
    resumed.train(resume_from_checkpoint=tmp_path / "out" / "checkpoint-4")

    expected = [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]
    assert rates_of(trainer) == rates_of(resumed) == pytest.approx(expected)


def test_a_plateau_goes_by_the_metric_for_the_best_model_and_passes_over_what_is_no_number(own):
    """None counts for nothing."""
    scores = iter([0.5, None, 0.4, 0.3])
    trainer = own(
        torch.optim.SGD,
        lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max", patience=1),
        eval_strategy="steps",
        eval_steps=1,
        max_steps=4,
        metric_for_best_model="score",
        compute_metrics=lambda p: {"score": next(scores)},
    )

    trainer.train()

    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.005)
    assert rates_of(trainer) == [0.05] * 4


@pytest.mark.parametrize(
    ("schedule", "settings", "message"),
    [
        (SCHEDULES["ReduceLROnPlateau"], {}, "ReduceLROnPlateau goes by 'loss' .*, but eval_strategy is 'no'"),
        (
            SCHEDULES["ReduceLROnPlateau"],
            {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "accuracy"},
            "has mode='min', but a greater 'accuracy' is better. Make it with mode='max'",
        ),
        (lambda o: lr_scheduler.StepLR, {}, r"optimizers\[1\] is the class StepLR, not a schedule"),
        (lambda o: 0.9, {}, r"optimizers\[1\] is a float, not a schedule"),
        (
            lambda o: lr_scheduler.StepLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1), 1),
            {},
            "StepLR would change the learning rate of an optimizer that does not train",
        ),
        (lambda o: WantsAnEpoch(o), {}, "The schedule WantsAnEpoch wants epoch at each step"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused_when_the_trainer_is_made(own, schedule, settings, message):
    """One sentence each."""
    with pytest.raises(OptionError, match=message):
        own(torch.optim.SGD, schedule, **settings)


class WantsAnEpoch:
    """A schedule as timm has them."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self, epoch, metric=None):
        """Go to an epoch."""

    def state_dict(self):
        """Return nothing."""
        return {}

    def load_state_dict(self, state):
        """Take nothing."""


@pytest.mark.parametrize("wrong", [torch.optim.SGD, "sgd", 0.1, lambda: None])
def test_what_is_no_optimizer_is_refused(make, wrong):
    """With what to give."""
    with pytest.raises(OptionError, match=r"optimizers\[0\] is .*, not an optimizer"):
        make(optimizers=(wrong, None))


def test_a_schedule_without_its_optimizer_is_refused(make):
    """It would change nothing."""
    scheduler = lr_scheduler.StepLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1), 1)

    with pytest.raises(OptionError, match="Give the Trainer both"):
        make(optimizers=(None, scheduler))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=4), "total_steps=4, but is stepped 6 times"),
        (
            lambda o: lr_scheduler.SequentialLR(
                o, [lr_scheduler.ConstantLR(o), lr_scheduler.OneCycleLR(o, 0.1, total_steps=3)], [2]
            ),
            "total_steps=3, but is stepped 4 times",
        ),
    ],
)
def test_a_schedule_that_ends_before_the_training_is_refused_before_the_first_step(own, schedule, message):
    """Not in the middle."""
    seen = []
    trainer = own(torch.optim.SGD, schedule)
    trainer.add_callback("on_step_begin", lambda *_, **__: seen.append(1))

    with pytest.raises(OptionError, match=message):
        trainer.train()

    assert seen == []


def test_a_rate_that_is_a_tensor_is_logged_as_the_number_it_was(own):
    """A schedule changes it in place."""
    trainer = own(torch.optim.SGD, SCHEDULES["ExponentialLR"], callbacks=[LearningRateCallback])
    trainer.optimizer.param_groups[0]["lr"] = torch.tensor(0.05)

    trainer.train()

    expected = [0.05 * 0.9**step for step in range(STEPS)]
    assert rates_of(trainer) == pytest.approx(expected)
    assert rates_of(trainer, "learning_rate/0") == pytest.approx(expected)


def test_each_group_is_logged_with_its_rate(make):
    """By its name or its number."""
    model = Tokens()
    optimizer = torch.optim.SGD(
        [
            {"params": [model.embedding.weight], "lr": 0.1, "name": "tokens"},
            {"params": [model.head.weight], "lr": 0.2, "momentum": 0.5},
        ],
        lr=1.0,
    )
    trainer = make(
        model=model,
        train_dataset=DATA,
        optimizers=(optimizer, lr_scheduler.ExponentialLR(optimizer, 0.5)),
        callbacks=[LearningRateCallback(momentum=True)],
        max_steps=3,
        logging_steps=2,
    )

    trainer.train()

    assert rates_of(trainer, "learning_rate/tokens") == pytest.approx([0.05, 0.025])
    assert rates_of(trainer, "learning_rate/1") == pytest.approx([0.1, 0.05])
    assert rates_of(trainer, "momentum/1") == [0.5, 0.5]


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"ReduceLROnPlateau", "SWALR", "SequentialLR"}))
def test_a_plateau_callback_lowers_the_rates_of_every_schedule(own, name):
    """From its reduction on, each rate is half of what the schedule gives by itself."""
    _, rates = steps_by_hand(torch.optim.SGD, SCHEDULES[name])
    trainer = own(
        torch.optim.SGD,
        SCHEDULES[name],
        eval_strategy="steps",
        eval_steps=1,
        compute_metrics=lambda p: {"flat": 1.0},
        callbacks=[ReduceLROnPlateauCallback(0.5, patience=2, cooldown=9, metric="flat")],
    )

    trainer.train()

    assert rates_of(trainer) == pytest.approx([*rates[:3], *(rate / 2 for rate in rates[3:])], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"The gradients of 'embedding' are sparse, and torch cannot clip those\. Set max_grad_norm=0"),
        ({"max_grad_norm": 0}, "sparse, which optim='adamw_torch_fused' does not support"),
        ({"max_grad_norm": 0, "optim": "sgd"}, None),
    ],
)
def test_sparse_gradients_work_or_are_refused_when_the_trainer_is_made(make, settings, message):
    """An embedding with sparse=True; a frozen one has no gradients."""
    if message is None:
        make(model=Tokens(sparse=True), train_dataset=DATA, max_steps=2, **settings).train()
    else:
        with pytest.raises(OptionError, match=message):
            make(model=Tokens(sparse=True), train_dataset=DATA, **settings)
    frozen = Tokens(sparse=True)
    frozen.embedding.requires_grad_(False)
    make(model=frozen, train_dataset=DATA, max_steps=1, **settings).train()


@pytest.mark.parametrize("wrong", [None, (), (None,), torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)])
def test_what_is_no_pair_is_refused(make, wrong):
    """An optimizer alone, say."""
    with pytest.raises(OptionError, match=r"Give a pair: optimizers=\(optimizer, schedule\)"):
        make(optimizers=wrong)


def test_parameters_that_no_group_holds_are_named(make, caplog):
    """Muon takes matrices only: the biases would stay as they are without a word."""
    model = make.Net()
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]

    make(model=model, optimizers=(torch.optim.Muon(matrices, lr=0.01), None), max_steps=1).train()

    assert (
        "2 parameters are in no group of the optimizer and stay as they are, the first is layers.0.bias" in caplog.text
    )


class TwoModes(torch.optim.SGD):
    """Steps while it is in the mode "train" only, as optimizers without a schedule do, which evaluate other weights."""

    mode = "eval"

    def train(self):
        self.mode = "train"

    def eval(self):
        self.mode = "eval"

    def step(self, closure=None):
        assert self.mode == "train"
        return super().step(closure)


def test_an_optimizer_with_modes_is_put_into_the_right_one(make):
    """As in transformers; after the training its weights are those to use."""
    model, modes = Tokens(), []
    optimizer = TwoModes(model.parameters(), lr=0.1)

    def note(*_, **__):
        modes.append(optimizer.mode)

    trainer = make(
        model=model,
        train_dataset=DATA,
        eval_dataset=DATA[:8],
        optimizers=(optimizer, None),
        callbacks=[("on_prediction_step", note), ("on_step_end", note)],
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
    )
    trainer.train()
    trainer.evaluate()

    assert modes == ["train", "eval", "train", "eval", "eval"]
    assert optimizer.mode == "eval"
