"""What users may import is a decision, not an accident."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import runcast

PACKAGE = Path(runcast.__file__).parent
PUBLIC = [
    "AimCallback",
    "Audio",
    "AzureMLCallback",
    "CSVLoggerCallback",
    "CheckpointError",
    "ClearMLCallback",
    "CodeCarbonCallback",
    "CometCallback",
    "DVCLiveCallback",
    "DagsHubCallback",
    "DefaultFlowCallback",
    "EarlyStoppingCallback",
    "EvalPrediction",
    "Figure",
    "Ending",
    "FinalError",
    "FlyteCallback",
    "GoneError",
    "Histogram",
    "Image",
    "JSONLLoggerCallback",
    "JournalError",
    "LambdaCallback",
    "LearningRateCallback",
    "MLflowCallback",
    "MetricCallback",
    "ModelCheckpointCallback",
    "NotifyCallback",
    "OptionError",
    "Point",
    "PredictionOutput",
    "PrinterCallback",
    "ProfilerCallback",
    "ProgressCallback",
    "PushToHubCallback",
    "Reading",
    "ReduceLROnPlateauCallback",
    "ReportCallback",
    "RestartError",
    "RetryableError",
    "Run",
    "RuncastError",
    "Seq2SeqTrainer",
    "Seq2SeqTrainingArguments",
    "Statistics",
    "Table",
    "SwanLabCallback",
    "SystemCallback",
    "TensorBoardCallback",
    "TerminateOnNaNCallback",
    "Text",
    "TrackedRun",
    "Tracker",
    "TrackerError",
    "TrackerUnavailableError",
    "TrackioCallback",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "UnknownTrackerError",
    "Video",
    "WandbCallback",
    "WatchCallback",
    "__version__",
    "alert",
    "finish",
    "get_reporting_integration_callbacks",
    "init",
    "log",
    "log_samples",
]
CURRENT = {"config", "run", "summary"}  # properties of the current run
# A new one goes behind these.
INIT_ARGUMENTS = "project name config * report_to dir id resume group tags notes offline strict delivery setup"


def test_the_public_names_are_these() -> None:
    """Nothing becomes public, or stops being it, without this list being changed."""
    assert sorted(runcast.__all__) == sorted(PUBLIC)


def test_the_stub_names_what_the_table_names() -> None:
    """Type checkers and editors see each public name, from the module that it is loaded from."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module != "runcast"]

    found = {alias.name: node.module for node in imports for alias in node.names}

    assert found.pop("Recorded") == "runcast.values.recorded"  # of `config` and `summary`
    assert found == {name: getattr(runcast, name).__module__ for name in PUBLIC if name != "__version__"}


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_the_docs_have_each_public_name(name: str) -> None:
    """A page says what it is, or includes its docstring."""
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (PACKAGE.parent / "docs").rglob("*.md"))
    module = getattr(runcast, name).__module__

    assert re.search(rf"\b{name}\b", pages) or f"::: {module}\n" in pages


def test_dir_shows_the_public_names() -> None:
    """Completion in a notebook shows the names before they are loaded."""
    assert set(PUBLIC) | CURRENT <= set(dir(runcast))


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_a_public_name_can_be_used_and_says_what_it_is(name: str) -> None:
    """Each public name resolves to an object with a docstring of its own."""
    found = getattr(runcast, name)

    assert found.__name__ == name
    assert inspect.getdoc(found)
    assert "__doc__" not in vars(found) or vars(found)["__doc__"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A wrong name fails as in any other module."""
    with pytest.raises(AttributeError, match="module 'runcast' has no attribute 'lgo'"):
        runcast.lgo  # noqa: B018


def test_the_arguments_of_init_are_these() -> None:
    """The first three arguments of `init` may be given by position, the others only by name."""
    words: list[str] = []
    for parameter in inspect.signature(runcast.init).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(parameter.name)

    assert " ".join(words).startswith(INIT_ARGUMENTS)


def test_the_methods_of_a_run_are_these() -> None:
    """What a training script may call on a run."""
    public = {name for name in dir(runcast.Run) if not name.startswith("_")}

    assert public == {
        "add_tags",
        "after_fork",
        "alert",
        "config",
        "finish",
        "flush",
        "identity",
        "log",
        "log_artifact",
        "log_params",
        "log_samples",
        "log_summary",
        "name",
        "statistics",
        "summary",
        "urls",
    }
