"""Parameter groups and learning-rate schedules."""

import copy

import pytest
import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.optimization.optimizers import decay_groups, make_optimizer
from runcast.trainer.optimization.schedules import make_scheduler
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.settings.limits import OPTIMIZERS, SCHEDULERS

NETWORK = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))


def rates(steps=10, **settings):
    """Return the learning rate of each step."""
    args = TrainingArguments(learning_rate=1.0, **settings)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, args, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_biases_and_normalisation_have_no_weight_decay():
    """Only matrices decay."""
    groups = decay_groups(NETWORK, 0.1)

    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.1, 1), (0.0, 3)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_changes_the_weights(name):
    """Each name gives an optimizer that works."""
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(model, TrainingArguments(optim=name, learning_rate=0.1))

    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()

    assert not torch.equal(before, model.weight)


def test_a_frozen_model_is_refused():
    """There must be something to train."""
    with pytest.raises(OptionError, match="nothing to train"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), TrainingArguments())


def test_linear_decay_with_warmup():
    """Rises from 0 for two steps, falls to 0 at the end."""
    assert rates(6, lr_scheduler_type="linear", warmup_steps=2) == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]


def test_cosine_decay():
    """Falls as half a cosine."""
    assert rates(4, lr_scheduler_type="cosine") == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_the_other_schedules():
    """Constant, with warm-up, polynomial, inverse square root."""
    assert rates(3, lr_scheduler_type="constant", warmup_steps=2) == [1.0, 1.0, 1.0]
    assert rates(3, lr_scheduler_type="constant_with_warmup", warmup_steps=2) == [0.0, 0.5, 1.0]
    assert rates(2, lr_scheduler_type="polynomial", lr_scheduler_kwargs={"power": 2.0, "lr_end": 0.0}) == [1.0, 0.25]
    assert rates(5, lr_scheduler_type="inverse_sqrt", warmup_steps=1) == pytest.approx(
        [0.0, 1.0, 0.7071, 0.57735, 0.5], abs=1e-4
    )


STABLE = {"num_decay_steps": 6}
OTHERS = [
    *(
        (name, {})
        for name in SCHEDULERS
        if name not in ("warmup_stable_decay", "reduce_lr_on_plateau", "cosine_with_min_lr")
    ),
    *(("cosine_with_min_lr", each) for each in ({"min_lr": 0.1}, {"min_lr_rate": 0.2, "num_cycles": 0.7})),
    ("cosine_with_restarts", {"num_cycles": 3}),
    *(
        ("warmup_stable_decay", {"decay_type": kind, "warmup_type": kind, **STABLE})
        for kind in ("linear", "cosine", "1-sqrt")
    ),
    ("warmup_stable_decay", {"num_stable_steps": 3, "min_lr_ratio": 0.1, **STABLE}),
]


@pytest.mark.filterwarnings("ignore:Both num_training_steps and num_stable_steps")
@pytest.mark.parametrize(("name", "settings"), OTHERS)
@pytest.mark.parametrize("warmup", [0, 4])
def test_schedules_are_those_of_transformers(name, settings, warmup):
    """The same name gives the same learning rate at every step."""
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = transformers.get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=20, scheduler_specific_kwargs=settings
    )
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()

    own = {"lr_scheduler_type": name, "lr_scheduler_kwargs": settings, "warmup_steps": warmup}
    assert rates(20, **own) == pytest.approx(expected)


def test_a_setting_that_the_schedule_does_not_have_is_named():
    """The message holds the setting and the schedule."""
    with pytest.raises(OptionError, match=r"\{'power': 2\} does not suit 'linear'"):
        rates(lr_scheduler_type="linear", lr_scheduler_kwargs={"power": 2})


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"optim_args": {"beta1": 0.9, "clip_threshold": 0.5}}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adafactor_is_that_of_transformers(settings, dtype):
    """The same weights after 20 steps, for a vector, matrices and a convolution, as transformers' own Trainer sets it up."""
    from transformers.optimization import Adafactor

    def network():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv1d(4, 3, 2), nn.Flatten(), nn.Linear(9, 5), nn.LayerNorm(5), nn.Linear(5, 1))
        return layers.to(dtype)

    ours, theirs = network(), network()
    mine = make_optimizer(ours, TrainingArguments(optim="adafactor", learning_rate=0.01, **settings))
    options = {"lr": 0.01, "scale_parameter": False, "relative_step": False, **settings.get("optim_args", {})}
    other = Adafactor(decay_groups(theirs, settings.get("weight_decay", 0.0)), **options)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        x = torch.randn(8, 4, 4, generator=generator).to(dtype)
        for model, optimizer in ((ours, mine), (theirs, other)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    for weight, wanted, start in zip(ours.parameters(), theirs.parameters(), network().parameters(), strict=True):
        torch.testing.assert_close(
            weight, wanted, rtol=1e-5 if dtype is torch.float32 else 0.02, atol=1e-6 if dtype is torch.float32 else 0.02
        )
        assert not torch.equal(weight, start)


def test_a_first_step_of_adafactor_by_hand():
    """Of a vector with gradients (3, 4): each is divided by its own size, so the update is the learning rate, up and down."""
    weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = make_optimizer(nn.ParameterList([weight]), TrainingArguments(optim="adafactor", learning_rate=0.1))
    weight.grad = torch.tensor([3.0, -4.0])

    optimizer.step()

    assert weight.tolist() == pytest.approx([0.9, 1.1])


@pytest.mark.parametrize(
    "text", ["momentum=0.9, nesterov=true,dampening=0", {"momentum": 0.9, "nesterov": True, "dampening": 0}]
)
def test_arguments_of_an_optimizer_may_be_a_text(text):
    """As transformers reads them; numbers and switches are what they say."""
    for args in (
        TrainingArguments(optim="sgd", optim_args=text),
        TrainingArguments.from_dict({"optim": "sgd", "optim_args": text}),
        *(
            [TrainingArguments.from_command_line(["--optim", "sgd", "--optim_args", text])]
            if isinstance(text, str)
            else []
        ),
    ):
        group = make_optimizer(NETWORK, args).param_groups[0]

        assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.9, True, 0)


@pytest.mark.parametrize("text", ["momentum", "=0.9", "momentum=", "momentum:0.9"])
def test_a_text_without_names_and_values_is_refused(text):
    """When the settings are made."""
    with pytest.raises(OptionError, match="is not a list of names and values"):
        TrainingArguments(optim="sgd", optim_args=text)


@pytest.mark.parametrize("wrong", [{"momentun": 0.9}, {"momentum": -1.0}, {"momentum": "much"}])
def test_arguments_that_do_not_suit_the_optimizer_are_named(wrong):
    """With the optimizer's own words."""
    with pytest.raises(OptionError, match="does not suit optim='sgd'"):
        make_optimizer(NETWORK, TrainingArguments(optim="sgd", optim_args=wrong))


@pytest.mark.parametrize(
    "schedule", [{}, {"lr_scheduler_type": "polynomial"}, {"lr_scheduler_kwargs": {"min_lr": 1e-5}}], ids=str
)
def test_a_rate_of_nothing_changes_nothing(make, schedule):
    """As in transformers, where people try a script with it."""
    kind = {"lr_scheduler_type": "cosine_with_min_lr"} if "lr_scheduler_kwargs" in schedule else {}
    trainer = make(learning_rate=0.0, weight_decay=0.1, max_steps=3, **schedule, **kind)
    before = copy.deepcopy(trainer.model)

    trainer.train()

    assert trainer.state.global_step == 3
    assert make.same_weights(trainer.model, before)
