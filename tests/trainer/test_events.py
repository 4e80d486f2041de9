"""The page of events, the loop, and what is announced are the same."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import runcast.core.events
from runcast.core.events import EVENTS, TrainerCallback
from runcast.trainer import evaluation, loop
from runcast.trainer.trainer import Trainer

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
WORK = "log, evaluate, save"


def text_of_the_page():
    """Return the pseudocode as it stands on the page."""
    return re.search(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]


def pseudocode():
    """Read the page: for each call its events and inner calls, loops as lists in the list."""
    sections, lists = {}, {}
    for line in text_of_the_page().splitlines():
        depth, words = len(line) - len(line.lstrip()), line.strip()
        if depth == 0:  # "train():", "log, evaluate, save:   each only if …"
            lists = {4: sections.setdefault(words.partition(":")[0].removesuffix("()"), [])}
        elif words.startswith("for "):
            lists[depth + 4] = []
            lists[depth].append(lists[depth + 4])
        elif words.startswith(WORK):
            lists[depth].append(WORK)
        elif words.split()[0] in EVENTS or words.endswith("()"):
            lists[depth].append(words.split()[0])
    return sections


def announced(body, inside):
    """Read code: the events that it announces, and for calls named in `inside` what stands there, in their order."""
    found = []
    for node in body:
        if isinstance(node, ast.For):
            found.append(announced(node.body, inside))
        elif isinstance(node, ast.If | ast.With | ast.Try):
            found += announced(node.body, inside)
        else:
            calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
            for call in sorted(calls, key=lambda call: (call.end_lineno, call.end_col_offset)):  # the inner one first
                name = ast.unparse(call.func).rpartition(".")[2]
                found += [call.args[0].value] if name == "event" else inside.get(name, [])
    return [part for part in found if part]


def code_of(function):
    """Parse the body of a function."""
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body


def test_the_page_is_the_loop():
    """Every event of a training stands on the page where the code announces it, in the same loops."""
    page = pseudocode()
    steps = announced(code_of(loop.train_loop), {"log_evaluate_save": [WORK]})

    assert page["train"] == announced(code_of(Trainer.train), {"train_loop": steps})


def test_the_page_is_the_rest_of_the_code_too():
    """What happens at a log, an evaluation, a prediction, an export and a save."""
    page = pseudocode()
    steps = announced(code_of(evaluation.evaluation_loop), {})
    inside = {"evaluation_loop": steps, "log": ["log()"], "evaluate": ["evaluate()"]}

    assert page[WORK] == announced(code_of(loop.log_evaluate_save), inside)
    assert page["log"] == announced(code_of(Trainer.log), {})
    assert page["evaluate"] == announced(code_of(Trainer.evaluate)[-2:], inside)
    assert page["predict"] == announced(code_of(Trainer.predict), inside)
    assert page["export"] == announced(code_of(Trainer.export), {})


def test_the_page_and_the_module_say_the_same():
    """The docstring of the events holds the page's pseudocode; every event stands in it, and no other."""
    text, document = text_of_the_page(), inspect.getdoc(runcast.core.events)

    assert textwrap.indent(text, "    ") in document + "\n"
    assert set(re.findall(r"\b(?:on_[a-z_]+|teardown)\b", text)) == set(EVENTS)


def test_a_training_announces_what_the_page_says(make, tmp_path):
    """Literally: two epochs of three batches, two for a step; an evaluation and a checkpoint at each epoch; then the other calls."""
    trace = []
    kind = type(
        "Tracer",
        (TrainerCallback,),
        {event: lambda self, *_, event=event, **__: trace.append(event) for event in EVENTS},
    )
    settings = {
        "train_dataset": make.Digits(12),
        "eval_dataset": make.Digits(8),
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "logging_steps": 2,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "output_dir": str(tmp_path),
    }
    trainer = make(num_train_epochs=2, callbacks=[kind()], **settings)
    trainer.train()

    step = ["on_step_begin", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end"]
    two_batches = ["on_step_begin", "on_substep_end", *step[1:]]
    evaluation_ = ["on_evaluate_begin", "on_prediction_step", "on_prediction_step", "on_log", "on_evaluate"]
    epoch = ["on_epoch_begin", *two_batches, *step, "on_log", "on_epoch_end", *evaluation_, "on_save"]
    assert trace == ["on_init_end", "on_train_begin", *epoch, *epoch, "on_log", "on_train_end", "teardown"]

    trace.clear()
    trainer.predict(make.Digits(4))
    trainer.export(tmp_path / "model")
    assert trace == [
        "on_predict_begin",
        "on_prediction_step",
        "on_predict",
        "teardown",
        "on_export_begin",
        "on_export_end",
        "teardown",
    ]

    trace.clear()
    make(num_train_epochs=2, callbacks=[kind()], **settings).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-2")
    )
    assert trace == [
        "on_init_end",
        "on_checkpoint_load",
        "on_train_begin",
        *epoch,
        "on_log",
        "on_train_end",
        "teardown",
    ]


def test_the_loop_fits_on_one_screen():
    """The function that trains has at most 40 lines."""
    assert len(inspect.getsource(loop.train_loop).splitlines()) <= 40
    assert len(inspect.getsource(loop).splitlines()) <= 66
