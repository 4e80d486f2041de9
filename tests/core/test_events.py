"""The events, the callbacks' base class, and what is told to a callback."""

import inspect
import json

import pytest

from runcast.core.events import EVENTS, TrainerCallback, TrainerControl, TrainerState


def test_every_event_has_a_hook_with_a_sentence_that_says_when_it_is_called():
    """`TrainerCallback` has each hook of EVENTS, and no other."""
    hooks = {name for name in vars(TrainerCallback) if name.startswith("on_") or name == "teardown"}

    assert hooks == set(EVENTS)
    assert all(getattr(TrainerCallback, name).__doc__.startswith("Called ") for name in EVENTS)


def test_hooks_have_the_names_and_arguments_of_transformers():
    """The first sixteen events are those of transformers, and take the same positional arguments."""
    transformers = pytest.importorskip("transformers")
    theirs = {name: hook for name, hook in vars(transformers.TrainerCallback).items() if name.startswith("on_")}

    assert set(EVENTS[:16]) == set(theirs)
    for name, hook in theirs.items():
        positional = [
            p.name
            for p in inspect.signature(hook).parameters.values()
            if p.name in ("self", "args", "state", "control")
        ]
        assert list(inspect.signature(getattr(TrainerCallback, name)).parameters)[:4] == positional


def test_state_and_control_have_the_fields_of_transformers():
    """What a callback of transformers reads is there."""
    transformers = pytest.importorskip("transformers")

    assert vars(transformers.TrainerState()).keys() == vars(TrainerState()).keys()
    assert vars(transformers.TrainerControl()) == vars(TrainerControl())


def test_a_state_survives_the_way_to_disk(tmp_path):
    """What is written is read again, and transformers reads it too."""
    state = TrainerState(global_step=7, best_metric=0.5, log_history=[{"loss": 1.0, "step": 7}])

    state.save_to_json(tmp_path / "state.json")

    assert TrainerState.load_from_json(tmp_path / "state.json") == state
    transformers = pytest.importorskip("transformers")
    assert transformers.TrainerState.load_from_json(str(tmp_path / "state.json")).global_step == 7


def test_a_state_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path):
    """An unknown field is left out."""
    (tmp_path / "state.json").write_text(json.dumps({"global_step": 3, "of_tomorrow": 1}))

    assert TrainerState.load_from_json(tmp_path / "state.json").global_step == 3


@pytest.mark.parametrize(("given", "settled"), [(500, 500), (0.25, 25), (0.001, 1)])
def test_an_interval_below_one_is_a_share_of_all_steps(given, settled):
    """logging_steps=0.25 logs four times."""

    class Args:
        logging_steps = eval_steps = save_steps = given

    state = TrainerState()

    state.compute_steps(Args(), max_steps=100)

    assert (state.logging_steps, state.eval_steps, state.save_steps) == (settled, settled, settled)
