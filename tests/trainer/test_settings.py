"""Settings have types: what is clear is converted, what is not is refused, wherever it comes from."""

import copy
import dataclasses
import enum
import json
import math
import typing
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments


class Strategy(enum.Enum):
    """As transformers' IntervalStrategy."""

    STEPS = "steps"


class Word(str, enum.Enum):
    """A text that is an enum too."""

    COSINE = "cosine"


CLEAR = [
    ("max_steps", "100", 100),
    ("max_steps", " 100 ", 100),
    ("max_steps", "1e3", 1000),
    ("max_steps", 100.0, 100),
    ("max_steps", "-1", -1),
    ("max_steps", np.int64(7), 7),
    ("max_steps", np.float32(7), 7),
    ("max_steps", torch.tensor(7), 7),
    ("max_steps", Decimal(7), 7),
    ("per_device_train_batch_size", 16.0, 16),
    ("seed", "3", 3),
    ("data_seed", "none", None),
    ("data_seed", np.uint8(3), 3),
    ("save_total_limit", "2", 2),
    ("save_total_limit", None, None),
    ("learning_rate", "1e-4", 1e-4),
    ("learning_rate", Decimal("0.5"), 0.5),
    ("learning_rate", np.float64(0.5), 0.5),
    ("num_train_epochs", "3", 3),
    ("logging_steps", "0.25", 0.25),
    ("warmup_steps", 100, 100),
    ("max_grad_norm", "inf", math.inf),
    ("bf16", "false", False),
    ("bf16", "True", True),
    ("bf16", "no", False),
    ("bf16", 0, False),
    ("bf16", np.bool_(True), True),
    ("tf32", "null", None),
    ("tf32", "on", True),
    ("output_dir", Path("a") / "b", "a/b"),
    ("run_name", 20261129, "20261129"),
    ("run_name", "none", "none"),
    ("label_names", "a, b", ["a", "b"]),
    ("label_names", ("a", "b"), ["a", "b"]),
    ("label_names", {"b", "a"}, ["a", "b"]),
    ("label_names", '["a"]', ["a"]),
    ("lr_scheduler_kwargs", '{"power": 2}', {"power": 2}),
    ("optim_args", "betas=(0.9, 0.95), eps=1e-6,amsgrad=true", {"betas": (0.9, 0.95), "eps": 1e-6, "amsgrad": True}),
    ("eval_strategy", Strategy.STEPS, "steps"),
    ("eval_strategy", False, "no"),
    ("lr_scheduler_type", Word.COSINE, "cosine"),
    ("include_num_input_tokens_seen", True, "all"),
    ("resume_from_checkpoint", True, True),
    ("resume_from_checkpoint", Path("a"), "a"),
]


@pytest.mark.parametrize(("name", "value", "expected"), CLEAR)
def test_what_is_clear_is_converted(name, value, expected):
    """From Python and from a mapping; the type is that of the field."""
    for args in (TrainingArguments(**{name: value}), TrainingArguments.from_dict({name: value})):
        found = getattr(args, name)

        assert found == expected
        assert type(found) is type(expected)


WRONG = [
    ("max_steps", 8.5, "max_steps=8.5 is not a whole number"),
    ("max_steps", "many", "max_steps='many' is not a whole number"),
    ("max_steps", "", "max_steps='' is not a whole number"),
    ("max_steps", True, "max_steps=True is not a whole number"),
    ("max_steps", np.bool_(True), "is not a whole number"),
    ("max_steps", None, "max_steps=None is not a whole number"),
    ("max_steps", math.inf, "max_steps=inf is not a whole number"),
    ("max_steps", [1], r"max_steps=\[1\] is not a whole number"),
    ("max_steps", torch.tensor([1, 2]), "is not a whole number"),
    ("per_device_train_batch_size", 8.5, "per_device_train_batch_size=8.5 is not a whole number"),
    ("per_device_train_batch_size", "0", "per_device_train_batch_size=0 must be positive"),
    ("gradient_accumulation_steps", 2.5, "gradient_accumulation_steps=2.5 is not a whole number"),
    ("seed", "a", "seed='a' is not a whole number"),
    ("seed", 2**64, "seed=18446744073709551616 must be below"),
    ("save_total_limit", 1.5, "save_total_limit=1.5 is not a whole number or None"),
    ("learning_rate", "fast", "learning_rate='fast' is not a number"),
    ("learning_rate", "nan", "learning_rate='nan' is not a number"),
    ("learning_rate", math.nan, "learning_rate=nan is not a number"),
    ("learning_rate", math.inf, "learning_rate=inf is not a finite number"),
    ("learning_rate", 1j, "learning_rate=1j is not a number"),
    ("learning_rate", -1e-4, "learning_rate=-0.0001 must not be negative"),
    ("weight_decay", "-1", "weight_decay=-1 must not be negative"),
    ("adam_beta1", 1.0, "adam_beta1=1.0 must be below 1"),
    ("eval_steps", -5, "eval_steps=-5 must be positive"),
    ("dataloader_prefetch_factor", 0, "dataloader_prefetch_factor=0 must be positive"),
    ("bf16", "maybe", "bf16='maybe' is not true or false"),
    ("bf16", 2, "bf16=2 is not true or false"),
    ("bf16", None, "bf16=None is not true or false"),
    ("bf16", [], r"bf16=\[\] is not true or false"),
    ("fsdp", "full_shard", "fsdp='full_shard' is not true or false or None"),
    ("output_dir", 1.5, "output_dir=1.5 is not a text"),
    ("output_dir", 1.5, "output_dir=1.5 is not a text"),
    ("run_name", True, "run_name=True is not a text or None"),
    ("run_name", ["a"], r"run_name=\['a'\] is not a text or None"),
    ("label_names", 5, "label_names=5 is not a list or None"),
    ("label_names", [1.5], r"label_names=\[1.5\] is not a list or None"),
    ("lr_scheduler_kwargs", [1], r"lr_scheduler_kwargs=\[1\] is not a list of names and values"),
    ("lr_scheduler_type", "cosin", "lr_scheduler_type='cosin' is unknown. Valid values are: linear, cosine"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_what_is_not_clear_is_refused_with_the_field_and_the_value(name, value, message):
    """And what is valid."""
    for make in (lambda: TrainingArguments(**{name: value}), lambda: TrainingArguments.from_dict({name: value})):
        with pytest.raises(OptionError, match=message):
            make()


def test_a_secret_of_a_wrong_type_is_not_shown():
    """The message may end in a log."""
    with pytest.raises(OptionError, match="hub_token=<secret> is not a text or None"):
        TrainingArguments(hub_token=["hf_secret"])


def test_a_setting_inside_another_has_a_type_too():
    """'false' is not true."""
    args = TrainingArguments(fsdp=True, fsdp_config={"cpu_offload": "false", "min_num_params": "1e6"})

    assert args.fsdp_config == {"cpu_offload": False, "min_num_params": 1_000_000}
    with pytest.raises(OptionError, match=r"fsdp_config\['cpu_offload'\]='maybe' is not true or false"):
        TrainingArguments(fsdp=True, fsdp_config={"cpu_offload": "maybe"})


YAML = """
learning_rate: 1e-4
max_steps: "100"
bf16: no
eval_strategy: no
run_name: 20261129
logging_steps: 0.5
lr_scheduler_kwargs: {power: 2e0, lr_end: 1e-7}
label_names: [a, b]
save_total_limit: null
"""
JSON = json.dumps(
    {
        "learning_rate": "1e-4",
        "max_steps": 100.0,
        "bf16": "false",
        "eval_strategy": "no",
        "run_name": "20261129",
        "logging_steps": "0.5",
        "lr_scheduler_kwargs": {"power": 2.0, "lr_end": 1e-7},
        "label_names": "a,b",
        "save_total_limit": None,
    }
)
LINE = (
    "--learning_rate 1e-4 --max_steps 1e2 --bf16 false --eval-strategy no --run_name 20261129 --logging_steps 0.5 "
    "--lr_scheduler_kwargs power=2.0,lr_end=1e-7 --label_names a,b --save_total_limit none"
)


@pytest.mark.parametrize("source", ["yaml", "json", "line"])
def test_every_source_gives_the_same_settings(tmp_path, source):
    """A file of YAML or JSON, the command line."""
    (tmp_path / "a.yaml").write_text(YAML)
    (tmp_path / "a.json").write_text(JSON)

    if source == "line":
        args = TrainingArguments.from_command_line(LINE.split())
    else:
        args = TrainingArguments.from_file(tmp_path / f"a.{source}")

    assert (args.learning_rate, args.max_steps, args.bf16, args.eval_strategy) == (1e-4, 100, False, "no")
    assert (args.run_name, args.logging_steps, args.label_names) == ("20261129", 0.5, ["a", "b"])
    assert args.lr_scheduler_kwargs == {"power": 2.0, "lr_end": 1e-7}
    assert args.save_total_limit is None


def test_what_follows_from_a_file_does_not_beat_the_command_line(tmp_path):
    """eval_steps is logging_steps where it is not given: that of the command line."""
    (tmp_path / "a.json").write_text('{"logging_steps": 100, "metric_for_best_model": "loss"}')

    args = TrainingArguments.from_command_line(
        ["--config", str(tmp_path / "a.json"), "--logging_steps", "50", "--metric_for_best_model", "accuracy"]
    )

    assert (args.eval_steps, args.greater_is_better) == (50, True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["--bf16"], True),
        (["--bf16", "true"], True),
        (["--bf16", "False"], False),
        (["--no-bf16"], False),
        (["--bf16", "--seed", "1"], True),
        ([], False),
    ],
)
def test_a_switch_may_be_given_with_or_without_a_value(line, expected):
    """As in transformers, and as any command has it."""
    assert TrainingArguments.from_command_line(line).bf16 is expected


def test_a_wrong_value_on_the_command_line_ends_it(capsys):
    """With the option and the value."""
    for wrong in (["--max_steps", "8.5"], ["--bf16", "maybe"], ["--tf32", "2"]):
        with pytest.raises(SystemExit):
            TrainingArguments.from_command_line(wrong)

        assert f"value: '{wrong[1]}'" in capsys.readouterr().err


@dataclasses.dataclass(kw_only=True)
class Own(TrainingArguments):
    """Settings of a user's own."""

    size: typing.Literal["small", "large", 8] = "small"
    where: Path = Path("here")
    kind: Strategy = Strategy.STEPS
    shape: tuple[int, ...] = (1,)
    weights: dict[str, float] | None = None
    loose: int = None


def test_settings_of_ones_own_have_types_too():
    """Literal choices, paths, enums, nested collections; a default of another type stays."""
    args = Own(size="LARGE", where="there", kind="steps", shape=["1", 2.0], weights={"a": "0.5"})

    assert (args.size, args.where, args.kind, args.shape) == ("large", Path("there"), Strategy.STEPS, (1, 2))
    assert args.weights == {"a": 0.5}
    assert Own(size="8").size == 8
    assert Own.from_command_line(["--size", "large", "--max_steps", "3"]).size == "large"
    assert Own().loose is None
    with pytest.raises(OptionError, match="size='huge' is not one of small, large, 8"):
        Own(size="huge")


def test_enums_of_transformers_are_understood():
    """Whoever comes from there brings them."""
    transformers = pytest.importorskip("transformers")

    args = TrainingArguments(
        eval_strategy=transformers.trainer_utils.IntervalStrategy.EPOCH,
        save_strategy=transformers.trainer_utils.SaveStrategy.BEST,
        lr_scheduler_type=transformers.SchedulerType.COSINE,
        hub_strategy=transformers.trainer_utils.HubStrategy.END,
    )

    assert (args.eval_strategy, args.save_strategy, args.lr_scheduler_type, args.hub_strategy) == (
        "epoch",
        "best",
        "cosine",
        "end",
    )


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("evaluation_strategy", "epoch", "Use eval_strategy."),
        ("no_cuda", True, "Use use_cpu."),
        ("overwrite_output_dir", True, "Leave it out: a training begins from scratch unless it is told to resume."),
        ("warmup_ratio", 0.1, "Use warmup_steps, which below 1 is a share of all steps."),
        ("learnig_rate", 0.1, "Did you mean 'learning_rate'?"),
    ],
)
def test_a_setting_of_older_scripts_is_refused_with_what_it_is_called_now(name, value, hint, capsys):
    """In Python, in a file and on the command line, and with the arguments of a subclass."""

    @dataclasses.dataclass
    class Mine(TrainingArguments):
        """Settings of a user's own."""

        alpha: float = 0.5

    for make in (lambda: TrainingArguments("out", **{name: value}), lambda: Mine.from_dict({name: value, "alpha": 1})):
        with pytest.raises(OptionError) as refused:
            make()
        assert str(refused.value).endswith(f"{hint}")
    with pytest.raises(SystemExit):
        TrainingArguments.from_command_line([f"--{name}={value}"])
    assert f"'{name}' is no setting of TrainingArguments. {hint}" in capsys.readouterr().err
    assert Mine(alpha=1, learning_rate=0.1).alpha == 1.0


def test_arguments_that_a_subclass_takes_itself_are_its_own():
    """It may have a constructor by hand."""

    class Mine(TrainingArguments):
        """Settings with a constructor by hand."""

        def __init__(self, ratio=0.1, **settings):
            super().__init__(**settings)
            self.ratio = ratio

    args = Mine(ratio=0.3, learning_rate=0.1)
    assert (args.ratio, args.learning_rate, copy.deepcopy(args).ratio) == (0.3, 0.1, 0.3)
