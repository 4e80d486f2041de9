"""Parameter groups and learning-rate schedules."""

import pytest
import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.arguments import OPTIMIZERS, SCHEDULERS, TrainingArguments
from runcast.trainer.optimization import decay_groups, make_optimizer, make_scheduler

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


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("warmup", [0, 4])
def test_schedules_are_those_of_transformers(name, warmup):
    """The same name gives the same learning rate at every step."""
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = transformers.get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()

    assert rates(20, lr_scheduler_type=name, warmup_steps=warmup) == pytest.approx(expected)


def test_a_setting_that_the_schedule_does_not_have_is_named():
    """The message holds the setting and the schedule."""
    with pytest.raises(OptionError, match=r"\{'power': 2\} does not suit 'linear'"):
        rates(lr_scheduler_type="linear", lr_scheduler_kwargs={"power": 2})
