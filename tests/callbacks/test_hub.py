"""The model on the Hub: pushed by huggingface_hub itself, to a stand-in on loopback."""

import importlib.metadata
import json
import signal
import threading

import pytest
import torch
from rich.console import Console
from safetensors.torch import load
from torch import nn

from runcast.callbacks.hub import PushToHubCallback
from runcast.callbacks.hub.upload import Uploads
from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.reporting import ReportCallback
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler
from runcast.run.init import init
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer
from tests.callbacks.hub_standin import Hub
from tests.delivery.plain_trackers import PlainTracker

pytest.importorskip("huggingface_hub")
TOKEN = "secret-token"


@pytest.fixture
def hub(monkeypatch):
    """Serve a hub; big files go to it by LFS, as its other store has a protocol of its own."""
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


def trainer_of(tmp_path, *callbacks, **settings):
    """Make a Trainer of six steps in two epochs."""
    chosen = {
        "output_dir": str(tmp_path / "digits"),
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "logging_steps": 3,
        **settings,
    }
    data = [(torch.randn(4), torch.tensor(index % 2)) for index in range(6)]
    callbacks = [*callbacks, ProgressCallback(Console(quiet=True))]
    return Trainer(
        nn.Linear(4, 2), TrainingArguments(**chosen), train_dataset=data, eval_dataset=data, callbacks=callbacks
    )


def weights_of(files, path="model.safetensors"):
    """Read the weights that a commit holds."""
    return load(files[path])["weight"]


def test_the_model_and_its_card_are_pushed_at_each_epoch(tmp_path, hub):
    """As one commit each; the last one is the model as it is at the end, and nothing is left in the folder."""
    callback = PushToHubCallback(hub_model_id="team/digits", hub_token=TOKEN, hub_private_repo=True)
    trainer = trainer_of(tmp_path, callback, eval_strategy="epoch")

    trainer.train()

    commits = hub.commits["team/digits"]
    assert commits[-1][0] == "Step 6"
    assert sorted(commits[-1][1]) == ["README.md", "model.safetensors"]
    assert torch.equal(weights_of(commits[-1][1]), trainer.model.weight)
    assert (hub.tokens - {""}, hub.private["team/digits"]) == ({f"Bearer {TOKEN}"}, "private")
    assert callback.url == f"{hub.url}/team/digits"
    assert not list((tmp_path / "digits" / ".push").iterdir())
    card = commits[-1][1]["README.md"].decode()
    assert card.startswith('---\nlibrary_name: "pytorch"\ntags: ["runcast"]\n---\n\n# digits\n')
    assert "A `Linear` of 10 parameters, trained for 6 steps (2.00 epochs)." in card
    assert "| eval_loss | " in card
    assert "| learning_rate | 5e-05 |" in card


def test_a_model_of_transformers_is_pushed_with_its_tokenizer(tmp_path, hub):
    """So that from_pretrained reads it; the repository is named after the folder, its owner is the token's."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words)
    config = transformers.GPT2Config(vocab_size=2, n_positions=4, n_embd=4, n_layer=1, n_head=1)
    model = transformers.GPT2LMHeadModel(config)
    callback = PushToHubCallback(tmp_path / "tiny", "end", processing_class=tokenizer)
    handler = CallbackHandler([callback], model=model)
    args, state = TrainingArguments(output_dir=str(tmp_path)), TrainerState(max_steps=1, global_step=1)

    for event in ("on_train_begin", "on_train_end", "teardown"):
        handler.call(event, args, state, TrainerControl())

    ((_, files),) = hub.commits["someone/tiny"]
    for path, content in files.items():
        (tmp_path / path).write_bytes(content)
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert torch.equal(again.transformer.wte.weight, model.transformer.wte.weight)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).get_vocab() == {"a": 0, "b": 1}
    assert 'library_name: "transformers"' in files["README.md"].decode()


def test_the_whole_checkpoint_is_pushed_to_resume_from(tmp_path, hub):
    """The trainer saves one for it; downloaded, it is a checkpoint that a training goes on from."""
    callback = PushToHubCallback(None, "steps", 6, hub_model_id="digits", checkpoint=True)
    trainer = trainer_of(tmp_path, callback)

    trainer.train()

    files = hub.commits["someone/digits"][-1][1]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    again = trainer_of(tmp_path, max_steps=8)
    again.train(resume_from_checkpoint=tmp_path / "last-checkpoint")
    assert again.state.global_step == 8
    assert again.state.log_history[0] == trainer.state.log_history[0]


def test_every_checkpoint_is_pushed_also_those_whose_push_gave_way_to_a_newer_one(tmp_path, hub):
    """The hub takes nothing before the training is over, so of the pushes that wait only the newest is made."""
    gate = ("on_train_end", lambda *_, **__: hub.gate.set())
    hub.gate.clear()
    trainer = trainer_of(
        tmp_path,
        gate,
        push_to_hub=True,
        hub_model_id="team/digits",
        hub_strategy="all_checkpoints",
        save_strategy="steps",
        save_steps=1,
    )

    trainer.train()

    pushed = {path.split("/")[0] for _, files in hub.commits["team/digits"] for path in files if "/" in path}
    assert pushed == {f"checkpoint-{step}" for step in range(1, 7)}
    assert len(hub.commits["team/digits"]) < 6


def test_a_checkpoint_that_is_written_in_the_background_is_what_is_pushed(tmp_path, hub):
    """With the weights that it holds, though the model has trained on when it is on disk."""
    trainer = trainer_of(
        tmp_path,
        PushToHubCallback(None, "steps", 2, hub_model_id="digits", checkpoint=True),
        async_save=True,
        learning_rate=0.5,
    )
    trainer.train()

    commits = dict(hub.commits["someone/digits"])  # the newest wins where they are fast
    assert "Step 6" in commits
    for name, files in commits.items():
        saved = tmp_path / "digits" / f"checkpoint-{name.split()[1]}" / "model.safetensors"
        assert torch.equal(weights_of(files), load(saved.read_bytes())["weight"])


def test_the_card_links_to_the_run_in_its_trackers(tmp_path, hub):
    """Web addresses, of every tracker that has one."""

    class Online(PlainTracker):
        def setup(self, run):
            super().setup(run)
            run.url = "https://plain.example/me/run"

    run = init(report_to=Online, dir=tmp_path / "runs", delivery="thread")
    assert run.flush(600)

    trainer_of(tmp_path, ReportCallback(run=run), PushToHubCallback(save_strategy="end", hub_model_id="digits")).train()

    run.finish()
    card = hub.commits["someone/digits"][-1][1]["README.md"].decode()
    assert "## The training\n\n- [plain](https://plain.example/me/run)\n" in card


def test_the_training_never_waits_and_the_newest_save_wins(tmp_path, hub):
    """While the first upload hangs the training goes through; of what was saved meanwhile, only the last is pushed."""
    hub.gate.clear()
    callback = PushToHubCallback(tmp_path, "steps", 1, hub_model_id="digits")
    handler = CallbackHandler([callback], model=nn.Linear(1, 1))
    args, state = TrainingArguments(output_dir=str(tmp_path)), TrainerState(max_steps=6)

    handler.call("on_train_begin", args, state, TrainerControl())
    for step in range(1, 7):
        state.global_step = step
        control = handler.call("on_step_end", args, state, TrainerControl())
        assert control.should_save
        handler.call("on_save", args, state, control)
        assert step > 1 or hub.committing.wait(150)
    folders = [path.name for path in (tmp_path / ".push").iterdir()]
    arrived = len(hub.commits["someone/digits"])
    handler.call("on_train_end", args, state, TrainerControl())
    hub.gate.set()
    handler.call("teardown", args, state, TrainerControl())

    assert (sorted(folders), arrived) == (["1-1", "6-6"], 0)
    assert [message for message, _ in hub.commits["someone/digits"]] == ["Step 1", "Step 6"]


@pytest.mark.parametrize("fault", [401, 500, "gone", "hang", "disk"])
def test_a_hub_that_fails_costs_a_line(tmp_path, hub, caplog, monkeypatch, fault):
    """The training is as without it, within the time to wait; the folder stays, and the line says how to push it."""
    if fault == "gone":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    elif fault == "hang":
        hub.gate.clear()
    elif fault == "disk":
        (tmp_path / "digits").mkdir()
        (tmp_path / "digits" / ".push").write_text("no folder")
    else:
        hub.fault = fault
    wait = 3.0 if fault == "hang" else 60.0
    callback = PushToHubCallback(None, "end", hub_model_id="digits", hub_token=TOKEN, finish_timeout_s=wait)
    trainer = trainer_of(tmp_path, callback)

    trainer.train()

    assert trainer.state.global_step == 6
    assert trainer.callback_handler.failures == 0
    assert hub.commits.get("someone/digits", []) == []
    assert caplog.text.count("the model was not pushed") == 1
    assert TOKEN not in caplog.text
    if fault != "disk":
        (folder,) = (tmp_path / "digits" / ".push").iterdir()
        assert f"hf upload digits {folder}" in caplog.text
        assert (folder / "model.safetensors").is_file()


def test_the_same_trouble_is_told_once_and_at_the_end(tmp_path, hub, caplog):
    """With the folder that is then the one to push by hand; the older ones are gone."""
    hub.fault = 403
    uploads = Uploads("digits", endpoint=hub.url, token=None, private=None, timeout_s=150)
    told = []
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        uploads.push(tmp_path / name, name)
        uploads._child.wait(150)
        uploads.tend()
        told.append(caplog.text.count("the model was not pushed"))

    arrived = uploads.wait(150)

    assert (told, arrived) == ([1, 1, 1], False)
    assert caplog.text.count("the model was not pushed") == 2
    assert caplog.text.rstrip().endswith(f"hf upload digits {tmp_path / 'three'}")
    assert [path.name for path in tmp_path.iterdir() if path.name in ("one", "two", "three")] == ["three"]


def test_an_interrupted_training_does_not_wait_for_long(tmp_path, hub, monkeypatch, caplog):
    """Whoever ends it wants it to end; what is not there yet stays in its folder."""
    monkeypatch.setattr("runcast.callbacks.hub.INTERRUPTED_S", 0.1)
    hub.gate.clear()

    def interrupt(args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt

    trainer = trainer_of(
        tmp_path, PushToHubCallback(None, "steps", 1, hub_model_id="digits"), ("on_step_begin", interrupt)
    )

    with pytest.raises(KeyboardInterrupt):
        trainer.train()

    assert "0.1 s were over" in caplog.text
    assert (tmp_path / "digits" / ".push" / "2-2" / "model.safetensors").is_file()


def test_an_upload_that_takes_too_long_gives_way_to_the_next_one(tmp_path, hub, caplog):
    """Its process ends by itself, even if nobody looks after it; its folder goes when a newer one is pushed."""
    hub.gate.clear()
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights of " + folder.name.encode())
    uploads = Uploads("digits", endpoint=hub.url, token=None, private=None, timeout_s=1.0)

    uploads.push(old, "old")
    ended = uploads._child.wait(150)
    uploads._timeout_s = uploads._job["timeout_s"] = 60.0
    uploads.push(new, "new")
    hub.gate.set()

    assert uploads.wait(150)
    assert ended == -signal.SIGALRM
    assert caplog.text.count("the model was not pushed to digits") == 1
    assert hub.commits["someone/digits"][-1] == ("new", {"model.safetensors": b"weights of new"})
    assert not old.exists()
    assert not new.exists()


def test_the_others_hear_of_a_push(tmp_path, hub):
    """on_push_begin, before each one."""
    heard = []
    callback = PushToHubCallback(None, "steps", 3, hub_model_id="digits")

    trainer_of(
        tmp_path, callback, ("on_push_begin", lambda args, state, *_, **__: heard.append(state.global_step))
    ).train()

    assert heard == [3, 6, 6]


@pytest.mark.parametrize(
    ("settings", "pushed"),
    [
        ({"save_strategy": "steps", "save_steps": 2}, [2, 4, 6, 6]),
        ({"save_strategy": "steps", "save_steps": 2, "hub_strategy": "checkpoint"}, [2, 4, 6, 6]),
        ({"save_strategy": "epoch"}, [3, 6, 6]),
        ({"save_strategy": "epoch", "hub_strategy": "end"}, [6]),
        ({"save_strategy": "no"}, [6]),
        (
            {
                "save_strategy": "best",
                "eval_strategy": "steps",
                "eval_steps": 1,
                "metric_for_best_model": "score",
                "greater_is_better": True,
            },
            [1, 4, 6],
        ),
    ],
)
def test_each_push_is_announced_once_and_each_save_is_pushed(tmp_path, hub, settings, pushed):
    """As hub_strategy says, whichever strategy saves; nothing is announced that is not pushed."""
    heard, saved, scores = [], [], iter([0.5, 0.4, 0.5, 0.6, 0.1, 0.2])
    trainer = trainer_of(
        tmp_path,
        ("on_push_begin", lambda args, state, *_, **__: heard.append(state.global_step)),
        ("on_save", lambda args, state, *_, **__: saved.append(state.global_step)),
        push_to_hub=True,
        hub_model_id="team/digits",
        **settings,
    )
    trainer.compute_metrics = lambda p: {"score": next(scores)}

    trainer.train()

    assert heard == pushed
    assert hub.commits["team/digits"][-1][0] == "Step 6"
    if settings.get("hub_strategy") != "end":
        assert saved == pushed[:-1]
    if settings.get("hub_strategy") == "checkpoint":
        assert "last-checkpoint/optimizer.pt" in hub.commits["team/digits"][-1][1]


def test_a_checkpoint_of_an_earlier_training_is_not_pushed(tmp_path, hub):
    """Although it has the number of the step at which this one ends."""
    trainer_of(tmp_path, save_strategy="steps", save_steps=6).train()

    trainer_of(tmp_path, PushToHubCallback(save_strategy="end", hub_model_id="digits", checkpoint=True)).train()

    assert sorted(hub.commits["someone/digits"][-1][1]) == ["README.md", "model.safetensors"]


def test_the_token_is_in_no_file(tmp_path, hub):
    """Neither in the run that is reported, nor in the checkpoint, nor in what is pushed; nor in the command line."""
    report = ReportCallback("none", dir=str(tmp_path / "runs"))
    callback = PushToHubCallback(save_strategy="epoch", hub_model_id="digits", hub_token=TOKEN)
    seen = []

    class Look(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch >= 1 and callback._uploads._child is not None:
                seen.extend(callback._uploads._child.args)

    trainer_of(tmp_path, callback, report, Look(), save_strategy="epoch").train()

    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
    assert not any(
        TOKEN in content.decode("latin-1") for _, files in hub.commits["someone/digits"] for content in files.values()
    )
    assert seen
    assert TOKEN not in " ".join(seen)
    assert TOKEN not in json.dumps(callback.__class__.__name__) + repr(callback)


def test_other_ranks_push_nothing(tmp_path, hub):
    """One process of a job does."""
    callback = PushToHubCallback(tmp_path, "end", hub_model_id="digits")
    handler = CallbackHandler([callback], model=nn.Linear(1, 1))
    state = TrainerState(max_steps=1, global_step=1, is_world_process_zero=False)

    for event in ("on_train_begin", "on_train_end", "teardown"):
        handler.call(event, TrainingArguments(output_dir=str(tmp_path)), state, TrainerControl())

    assert hub.commits == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"save_strategy": "never"}, "save_strategy='never' is unknown. Valid values are: epoch, steps, end"),
        ({"save_strategy": "steps"}, "give a number of steps with 'steps', and only then"),
        ({"save_steps": 5}, "give a number of steps with 'steps', and only then"),
    ],
)
def test_a_wrong_setting_is_refused(wrong, message):
    """When the callback is made."""
    with pytest.raises(OptionError, match=message):
        PushToHubCallback(**wrong)


def test_without_huggingface_hub_the_command_that_mends_it_is_said(monkeypatch):
    """As for a tracker."""

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)

    with pytest.raises(OptionError, match=r"pip install 'runcast\[hub\]'"):
        PushToHubCallback()


def test_a_trainer_pushes_when_it_is_asked_to(tmp_path, hub):
    """With the message, the branch and the metadata that one gives; the card alone can be written, too."""
    trainer = trainer_of(tmp_path, hub_model_id="team/digits", hub_token=TOKEN)
    trainer.train()

    url = trainer.push_to_hub("My message", revision="mine", tags="digits", license="mit", finetuned_from="a/b")
    trainer.create_model_card(model_name="Ten digits", dataset_tags=["mnist"], language="en")

    ((message, files),) = hub.commits["team/digits"]
    assert (url, message, hub.branches) == (f"{hub.url}/team/digits", "My message", ["mine", "mine"])
    card = files["README.md"].decode()
    assert card.startswith(
        '---\nlibrary_name: "pytorch"\ntags: ["digits", "runcast"]\nlicense: "mit"\nbase_model: "a/b"\n'
    )
    written = (tmp_path / "digits" / "README.md").read_text()
    assert 'language: "en"\ndatasets: ["mnist"]' in written
    assert "# Ten digits" in written
