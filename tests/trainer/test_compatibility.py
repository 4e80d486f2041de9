"""What callbacks of transformers read of the arguments, and how users of transformers write them."""

import dataclasses
import sys
from datetime import timedelta

import pytest
import torch

from runcast.trainer.settings.arguments import TrainingArguments
from tests.adapters.tiny_transformers import transformers

# What only transformers' own Trainer uses: its setters, its inner parts, and settings that ours does not have.
NOT_OURS = {
    *("set_dataloader", "set_evaluate", "set_logging", "set_lr_scheduler", "set_optimizer", "set_push_to_hub"),
    *("set_save", "set_testing", "set_training", "distributed_state", "default_optim", "fsdp_plugin_args"),
    *("is_torch_greater_or_equal_than_2_8", "dataloader_in_order", "ddp_broadcast_buffers", "ddp_bucket_cap_mb"),
    *("ddp_static_graph", "debug", "eval_do_concat_batches", "eval_use_gather_object", "include_for_metrics"),
    *("length_column_name", "logging_nan_inf_filter", "remove_unused_columns", "train_sampling_strategy", "use_cache"),
    *(
        "activation_checkpointing_kwargs",
        "parallel_mode",
    ),  # the second one is asked in searches, of a Trainer of theirs
}


def test_what_callbacks_read_is_there():
    """Every public attribute of transformers' arguments, but for those that only its own Trainer uses."""
    theirs = transformers.TrainingArguments("out", report_to="none", use_cpu=True)

    missing = {name for name in dir(theirs) if not name.startswith("_") and not hasattr(TrainingArguments(), name)}

    assert missing <= NOT_OURS


def test_they_say_what_theirs_say():
    """For the same settings, in a single process."""
    settings = {"per_device_train_batch_size": 3, "per_device_eval_batch_size": 5, "use_cpu": True, "ddp_timeout": 60}
    theirs = transformers.TrainingArguments("out", report_to="none", **settings)
    ours = TrainingArguments("out", report_to="none", **settings)

    same = ("output_dir", "train_batch_size", "eval_batch_size", "should_save", "should_log", "process_index", "n_gpu")
    same = (*same, "device", "local_process_index", "world_size", "ddp_timeout_delta", "label_smoothing_factor")
    assert {name: getattr(ours, name) for name in same} == {name: getattr(theirs, name) for name in same}
    assert (ours.local_rank, ours.train_batch_size, ours.ddp_timeout_delta) == (0, 3, timedelta(seconds=60))
    assert ours.get_process_log_level() == theirs.get_process_log_level()


def test_another_rank_neither_saves_nor_logs(monkeypatch):
    """The second process of the second machine: local rank 1, rank 3 of 4."""
    for name, value in {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    args = TrainingArguments("out")

    assert (args.should_save, args.should_log, args.local_rank, args.process_index) == (False, False, 1, 3)


def test_the_folder_may_be_given_by_position():
    """As everybody writes it for transformers; nothing else may."""
    assert TrainingArguments("out").output_dir == "out"
    with pytest.raises(TypeError):
        TrainingArguments("out", 3)


def test_a_block_of_the_first_process_runs():
    """main_process_first needs no process group."""
    with TrainingArguments().main_process_first():
        torch.zeros(1)


@pytest.mark.parametrize(
    ("given", "expected", "kept"),
    [
        ({"use_cpu": True}, "cpu", None),
        ({"device": "cuda:1"}, "cuda:1", "cuda:1"),
        ({"device": torch.device("mps")}, "mps", "mps"),
    ],
)
def test_the_device_is_one_of_torch_and_is_kept_as_it_was_given(given, expected, kept):
    """Callbacks read `args.device.type`; what is saved and reported says no more than the user did."""
    args = TrainingArguments("out", **given)

    assert args.device == torch.device(expected)
    assert args.to_dict()["device"] == kept
    assert TrainingArguments.from_dict(args.to_dict()).device == args.device
    assert dataclasses.replace(args, seed=1).device == args.device


def test_without_torch_the_device_is_the_word(monkeypatch):
    """Settings can be made, read and written where torch is not installed."""
    monkeypatch.setitem(sys.modules, "torch", None)

    assert (TrainingArguments("out").device, TrainingArguments("out", device="cuda").device) == (None, "cuda")
