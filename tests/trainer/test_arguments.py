"""Settings are checked when they are made, and follow transformers where they are the same."""

import dataclasses
from typing import get_type_hints

import pytest

from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments

# Names that are ours: not in transformers, or deliberately different there.
OURS = {
    "async_save",
    "device",
    "torch_compile_blocks",
    "optim_args",
    "report_to",
    "project",
    "disable_tqdm",
    "dataloader_pin_memory",
    "output_dir",
}
# None is False for these two; and what a checkpoint holds comes back unless one says no.
OURS |= {"include_for_metrics", "logging_nan_inf_filter"}  # a NaN is shown
OURS |= {"ddp_find_unused_parameters", "gradient_checkpointing", "restore_callback_states_from_checkpoint"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": -1}, "learning_rate=-1 must not be negative"),
        ({"per_device_train_batch_size": -1}, "per_device_train_batch_size=-1 must be positive"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must not be negative"),
        ({"num_train_epochs": "three"}, "num_train_epochs='three' is not a number"),
        ({"eval_strategy": "often"}, "eval_strategy='often' is unknown. Valid values are: no, steps, epoch"),
        ({"optim": "adamm"}, "optim='adamm' is unknown. Valid values are: adamw_torch_fused"),
        ({"bf16": True, "fp16": True}, "bf16 and fp16 exclude each other"),
        ({"logging_steps": 2.5}, "logging_steps=2.5 is neither a whole number nor below 1"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end needs evaluations"),
        ({"load_best_model_at_end": True, "eval_strategy": "epoch"}, "the strategies never meet"),
        ({"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 200}, "the strategies never meet"),
        ({"save_strategy": "best"}, "save_strategy='best' needs evaluations"),
        ({"save_total_limit": 0}, "save_total_limit must be positive"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_valid_ones(wrong, message):
    """Nothing wrong is found an hour later."""
    with pytest.raises(OptionError) as caught:
        TrainingArguments(**wrong)

    assert message in str(caught.value)


def test_every_setting_is_described():
    """Each field has a sentence, which is also the help on the command line."""
    for name, hint in get_type_hints(TrainingArguments, include_extras=True).items():
        assert hint.__metadata__[0].endswith("."), name


def test_settings_mean_what_they_mean_in_transformers():
    """Each name that both have has the same default."""
    transformers = pytest.importorskip("transformers")
    theirs = {field.name: field.default for field in dataclasses.fields(transformers.TrainingArguments)}
    mine = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}

    assert set(mine) - set(theirs) == {"async_save", "device", "torch_compile_blocks"}
    plain = {name: getattr(value, "value", value) for name, value in theirs.items()}
    different = {
        name: (mine[name], plain[name]) for name in mine if name not in OURS and str(plain[name]) != str(mine[name])
    }
    assert different == {}


def test_the_direction_of_a_metric_follows_from_its_name():
    """A loss is better when it is smaller."""
    loss = TrainingArguments(eval_strategy="epoch", metric_for_best_model="eval_loss")
    accuracy = TrainingArguments(eval_strategy="epoch", metric_for_best_model="accuracy")

    assert (loss.greater_is_better, accuracy.greater_is_better) == (False, True)


@pytest.mark.parametrize(("given", "steps"), [(0, 0), (10, 10), (0.1, 10), (0.015, 2)])
def test_warmup_is_given_in_steps_or_as_a_share(given, steps):
    """Below 1 it is a share of all steps, rounded up."""
    assert TrainingArguments(warmup_steps=given).get_warmup_steps(100) == steps


def test_a_wrong_name_is_answered_with_the_right_one():
    """A typo in a file of settings does not go unnoticed."""
    with pytest.raises(
        OptionError, match=r"'learning_rat' is no setting of TrainingArguments\. Did you mean 'learning_rate'"
    ):
        TrainingArguments.from_dict({"learning_rat": 1})


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", '{"learning_rate": 0.5, "bf16": true}'), ("a.yaml", "learning_rate: 0.5\nbf16: true\n")],
)
def test_settings_are_read_from_a_file(tmp_path, name, text):
    """JSON or YAML."""
    (tmp_path / name).write_text(text)

    args = TrainingArguments.from_file(tmp_path / name)

    assert (args.learning_rate, args.bf16) == (0.5, True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "cannot be read as JSON"),
        ("a.yaml", "a: [", "cannot be read as YAML"),
        ("a.json", "[1]", "holds a list, not a mapping"),
    ],
)
def test_a_file_that_holds_something_else_is_named(tmp_path, name, text, message):
    """With the reason."""
    (tmp_path / name).write_text(text)

    with pytest.raises(OptionError, match=message):
        TrainingArguments.from_file(tmp_path / name)


def test_settings_are_read_from_the_command_line(tmp_path):
    """Numbers, switches, lists, dicts, None; a file to begin with."""
    (tmp_path / "a.json").write_text('{"learning_rate": 0.5, "seed": 3}')
    line = '--seed 4 --bf16 --no-dataloader-pin-memory --tf32 yes --label_names a,b --lr_scheduler_kwargs {"power":2.0} --eval-steps none'

    args = TrainingArguments.from_command_line(["--config", str(tmp_path / "a.json"), *line.split()])

    assert (args.learning_rate, args.seed, args.bf16, args.dataloader_pin_memory, args.tf32) == (
        0.5,
        4,
        True,
        False,
        True,
    )
    assert (args.label_names, args.lr_scheduler_kwargs) == (["a", "b"], {"power": 2.0})
    assert args.eval_steps == args.logging_steps


def test_help_tells_every_setting(capsys):
    """With its sentence and its default."""
    with pytest.raises(SystemExit):
        TrainingArguments.from_command_line(["--help"])

    told = " ".join(capsys.readouterr().out.split())
    assert "The peak learning rate. Default: 5e-05." in told


def test_a_wrong_value_on_the_command_line_is_named_with_what_it_should_be(capsys):
    """As any command does."""
    with pytest.raises(SystemExit):
        TrainingArguments.from_command_line(["--learning_rate", "fast"])

    assert "argument --learning_rate/--learning-rate: invalid float value: 'fast'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"eval_strategy": "steps", "eval_steps": 0, "logging_steps": 5}, "eval_steps", 5),
        ({"save_steps": 0}, "save_steps", 0),
        ({"logging_strategy": "no", "logging_steps": 0}, "logging_steps", 0),
        ({"output_dir": None}, "output_dir", "trainer_output"),
        ({"disable_tqdm": None}, "disable_tqdm", False),
        ({"gradient_checkpointing": None}, "gradient_checkpointing", False),
        ({"ddp_find_unused_parameters": None}, "ddp_find_unused_parameters", False),
        ({"torch_compile_backend": "eager"}, "torch_compile", True),
        ({"torch_compile_mode": "max-autotune"}, "torch_compile", True),
        ({"debug": [], "deepspeed": "", "accelerator_config": {}}, "debug", []),
    ],
    ids=str,
)
def test_what_transformers_takes_for_not_given_is_taken_so(given, name, value):
    """Scripts and saved settings have it."""
    assert getattr(TrainingArguments(**given), name) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"logging_steps": 0}, "logging_steps=0 must be positive, as logging_strategy is 'steps'"),
        (
            {"logging_strategy": "no", "logging_steps": 0, "eval_strategy": "steps"},
            "eval_steps=0 must be positive, as eval_strategy is 'steps'",
        ),
    ],
)
def test_nothing_can_happen_every_zero_steps(given, message):
    """Where it is to happen."""
    with pytest.raises(OptionError, match=message):
        TrainingArguments(**given)


def test_scripts_can_ask_what_is_reported_to(monkeypatch):
    """`if "wandb" in args.report_to` is in many of them."""
    monkeypatch.delenv("RUNCAST_REPORT_TO", raising=False)
    args = TrainingArguments()

    assert "wandb" not in args.report_to
    assert args.to_dict()["report_to"] == "default"
    monkeypatch.setenv("RUNCAST_REPORT_TO", "wandb,mlflow")
    assert "wandb" in args.report_to
    assert TrainingArguments(report_to=["wandb"]).report_to == ["wandb"]


@pytest.mark.parametrize(
    ("given", "text", "read"),
    [
        ({}, "default", ...),
        ({"report_to": ["wandb", "mlflow"]}, "wandb,mlflow", "wandb,mlflow"),
        ({"report_to": []}, "none", "none"),
        ({"report_to": "wandb"}, "wandb", "wandb"),
    ],
    ids=str,
)
def test_what_is_reported_to_is_the_same_after_a_round_trip(given, text, read):
    """Checkpoints have the settings as JSON."""
    values = TrainingArguments(**given).to_dict()

    assert values["report_to"] == text
    assert vars(TrainingArguments.from_dict(values))["report_to"] == read
