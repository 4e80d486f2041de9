"""Checks of a tracker's content, from points to artifacts; each docstring is the promise that is checked."""

import time
from pathlib import Path

from runcast.delivery.sending.refusals import refusals
from runcast.journal.records import Media, Metrics, Params, Tags
from runcast.testing import inputs
from runcast.testing.stage import Logged, Stage, expect
from runcast.values.media.kinds import Audio, Histogram, Image, Table, Text
from runcast.values.names import NameRule

# Points


def values(stage: Stage) -> None:
    """Every type of number that training code logs arrives with its value."""
    pairs = list(inputs.VALUES)
    try:
        import numpy as np
    except ImportError:
        stage.notes.append("NumPy is not installed; its types were not tried")
    else:
        pairs += [(getattr(np, name)(1), 1) for name in inputs.NUMPY_TYPES]
        pairs += [(np.array(0.25), 0.25), (np.array([[3]]), 3)]
    with stage.start() as run:
        for step, (value, _) in enumerate(pairs):
            run.log({"value": value}, step=step)
    stage.expect_points([("value", expected, step) for step, (_, expected) in enumerate(pairs)], stage.deliver())


def precise_values(stage: Stage) -> None:
    """A finite number comes back exactly in the declared precision, from 5e-324 to 1e300, or is counted."""
    logged = [("value", value, step) for step, value in enumerate(inputs.PRECISE)]
    stage.expect_points(logged, stage.log_and_deliver(logged))


def non_finite_values(stage: Stage) -> None:
    """NaN, inf and -inf come back as themselves, or are counted; none becomes another number."""
    logged = [("value", value, step) for step, value in enumerate(inputs.NON_FINITE)]
    stage.expect_points(logged, stage.log_and_deliver(logged))


def steps(stage: Stage) -> None:
    """A point keeps its step when steps repeat, go back, are negative or are huge."""
    logged = [("loss", index / 8, step) for index, step in enumerate(inputs.STEPS)]
    stage.expect_points(logged, stage.log_and_deliver(logged))


def sparse_points(stage: Stage) -> None:
    """Metrics that are logged at different steps do not fill each other's gaps."""
    logged = [(f"every {every}", step / 4, step) for step in range(12) for every in (1, 3, 5) if step % every == 0]
    stage.expect_points(logged, stage.log_and_deliver(logged))


def repeated_points(stage: Stage) -> None:
    """A metric that is logged several times at one step keeps all of its points, even equal ones."""
    logged: list[Logged] = [("loss", 0.5, 4), ("loss", 0.5, 4), ("loss", 0.25, 4), ("loss", 0.5, 4)]
    stage.expect_points(logged, stage.log_and_deliver(logged))


def times(stage: Stage) -> None:
    """A point that is delivered late keeps its time, within two milliseconds, if the reader knows times."""
    moment = float(int(time.time())) - 5000.25
    with stage.start():
        for step in range(3):
            stage.append(Metrics(time=moment + step, step=step, values={"loss": 0.5}))
    stage.deliver()
    wrong = [point for point in stage.read().points if point.time and abs(point.time - moment - point.step) > 0.002]
    found = ", ".join(f"{point.time:.3f}, logged at {moment + point.step:.3f}" for point in wrong)
    expect(not wrong, f"points have the times {found}")


def batches(stage: Stage) -> None:
    """Twelve thousand points in batches of five thousand arrive, each exactly once."""
    logged = [(key, step / 4, step) for step in range(4000) for key in ("train/loss", "train/acc", "lr")]
    with stage.start() as run:
        for step in range(4000):
            run.log({"train/loss": step / 4, "train/acc": step / 4, "lr": step / 4}, step=step)
    stage.deliver()
    stage.expect_points(logged)


# Keys


def odd_keys(stage: Stage) -> None:
    """Any key is read back unchanged: blanks, control characters, any script, `..` paths, the empty key."""
    _expect_keys(stage, inputs.ODD_KEYS)


def reserved_keys(stage: Stage) -> None:
    """A key that services use for themselves (`step`, `_step`, `epoch`, `time` …) is an ordinary key."""
    _expect_keys(stage, inputs.RESERVED_KEYS)


def long_keys(stage: Stage) -> None:
    """Keys of hundreds and thousands of characters that differ only at their end stay apart."""
    _expect_keys(stage, inputs.LONG_KEYS)


def nested_keys(stage: Stage) -> None:
    """A key may be a prefix of another one's path, in either order: `loss` and `loss/train`."""
    _expect_keys(stage, inputs.NESTED_KEYS)


def similar_keys(stage: Stage) -> None:
    """Keys that differ only in case, in characters that services replace, or in Unicode form stay apart."""
    _expect_keys(stage, inputs.SIMILAR_KEYS)


def _expect_keys(stage: Stage, keys: tuple[str, ...]) -> None:
    logged: list[Logged] = [(key, index / 2, step) for step in (0, 1) for index, key in enumerate(keys)]
    stage.expect_points(logged, stage.log_and_deliver(logged))


# Params, summary, tags


def many_params(stage: Stage) -> None:
    """A thousand params, including nested ones, are all kept."""
    params = {f"layer {layer}": {f"p{index}": index * layer for index in range(10)} for layer in range(100)}
    with stage.start() as run:
        run.log_params(params)
    stage.deliver()
    expected = {f"layer {layer}/p{index}": index * layer for layer in range(100) for index in range(10)}
    stage.expect_params(expected, stage.read())


def odd_params(stage: Stage) -> None:
    """Params of any JSON type, any text and any key come back unchanged or as their text."""
    with stage.start():
        stage.append(Params(time=time.time(), values=inputs.ODD_PARAMS))
    stage.deliver()
    stage.expect_params(inputs.ODD_PARAMS, stage.read())


def long_params(stage: Stage) -> None:
    """A param up to the declared length is kept whole, a longer one keeps its beginning."""
    limit = stage.tracker.max_param_chars or 30_000
    text = "word " * (limit // 5 + 200)
    with stage.start() as run:
        run.log_params({"fits": text[:limit], "too long": text})
    stage.deliver()
    reading = stage.read()
    stage.expect_params({"fits": text[:limit]}, reading)
    if reading.params is not None:
        held = str(reading.params.get(stage.tracker.param_names.encode("too long"), ""))
        longest = stage.tracker.max_param_chars or len(text)
        expect(
            held[:100] == text[:100] and len(held) <= longest,
            f"a parameter of {len(text)} characters is read as {len(held)}, beginning with {held[:20]!r}",
        )


def changed_params(stage: Stage) -> None:
    """A param that is logged again, in this session or in a later one, has its last value; the others stay."""
    with stage.start() as run:
        run.log_params({"lr": 0.5, "layers": 2, "same": "x"})
        run.log_params({"lr": 0.25, "same": "x"})
    stage.deliver()
    with stage.start(resume="allow") as run:
        run.log_params({"lr": 0.125, "new": 1})
    stage.deliver()
    stage.expect_params({"lr": 0.125, "layers": 2, "same": "x", "new": 1}, stage.read())


def summary(stage: Stage) -> None:
    """Final values are numbers, texts and bools; the last one wins; a metric of that name keeps its points."""
    with stage.start() as run:
        run.log({"loss": 0.5}, step=0)
        run.log_summary({**inputs.SUMMARY, "best/acc": 0.5})
        run.log_summary(inputs.SUMMARY)
        run.log({"loss": 0.25}, step=1)
    stage.deliver()
    stage.expect_values("summary", inputs.SUMMARY, stage.read().summary, stage.tracker.names.encode)
    stage.expect_points([("loss", 0.5, 0), ("loss", 0.25, 1)])


def tags(stage: Stage) -> None:
    """Tags of any text are kept, those that the run starts with and those added later."""
    with stage.start(tags=["first"]) as run:
        stage.append(Tags(time=time.time(), tags=list(inputs.TAGS)))
        run.add_tags("last", "first")
    stage.deliver()
    expected, rename = ("first", *inputs.TAGS, "last"), stage.tracker.tag_names.encode
    stage.expect_names(expected, rename)
    stage.expect_names_found("tags", {rename(tag) for tag in expected}, stage.read().tags)


# Files

LONG_KEYS = ("k" * 260, "größe/" * 40 + "損失" * 80)  # more than a file name holds, in characters or in bytes
NAMES = (*inputs.ODD_KEYS, *inputs.RESERVED_KEYS, *inputs.LONG_KEYS, *inputs.NESTED_KEYS, *inputs.SIMILAR_KEYS)


def media(stage: Stage) -> None:
    """Images, sounds, texts, tables, histograms and pages are kept under their key and step, whatever the key."""
    with stage.start() as run:
        for step in (0, 5):
            image = Image([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]])
            table = Table([[1, "x"], [2.5, 'y"\n']], columns=["a", "b,c"])
            run.log({"samples/image": image, "loss": 0.5}, step=step)
            run.log({"text": Text("größe 损失\n| a | b |"), "sound": Audio([0.0, 0.5, -0.5] * 100, 8000)}, step=step)
            run.log({"table": table, "histogram": Histogram([0.0, 0.25, 0.5, 1.0])}, step=step)
            page = _write(run.dir / "media" / f"{step}-page.html", b"<!doctype html><title>a figure</title><p>x</p>")
            stage.append(Media(time=time.time(), key="page", step=step, kind="html", path=f"media/{page.name}"))
            for key in LONG_KEYS:
                run.log({f"{key}i": Image([[[255, 0, 0]]]), f"{key}t": Table([[1]], ["a"])}, step)
            for key in NAMES:
                run.log({key: Text("x")}, step)
    state = stage.deliver()
    expect(not refusals(state), f"media were refused: {state.refused}")
    long = (f"{key}{kind}" for key in LONG_KEYS for kind in ("i", "t"))
    keys = (*NAMES, "samples/image", "text", "sound", "table", "histogram", "page", *long)
    rename = _rule_of_media(stage).encode
    expected = {(rename(key), step) for key in keys for step in (0, 5)}
    stage.expect_names_found("media", expected, stage.read().media)
    stage.expect_points([("loss", 0.5, 0), ("loss", 0.5, 5)])


def repeated_media(stage: Stage) -> None:
    """Several media of one key at one step are all kept, the second as `key/1`, whatever their kind."""
    pixel = Image([[[255, 0, 0]]])
    with stage.start() as run:
        for _ in range(3):
            run.log({"note": Text("x"), "dot": pixel, "spread": Histogram([0.0, 1.0])}, step=2)
        run.log({"note/1": Text("a key of the user's own")}, step=2)
        run.log({"note": Text("another step")}, step=3)
    state = stage.deliver()
    expect(not refusals(state), f"media were refused: {state.refused}")
    names = [*(f"{key}{number}" for key in ("note", "dot", "spread") for number in ("", "/1", "/2")), "note/1/1"]
    rename = _rule_of_media(stage).encode
    expected = {(rename(name), 2) for name in names} | {(rename("note"), 3)}
    stage.expect_names_found("media", expected, stage.read().media)


def _rule_of_media(stage: Stage) -> NameRule:
    return stage.tracker.media_names or stage.tracker.names


def artifacts(stage: Stage) -> None:
    """A file, a nested folder and a second version under the same name are kept, under names of any characters."""
    source = stage.subject.folder / f"{stage.check} source"
    file = _write(source / "weights.bin", b"\0\1\2" * 50)
    _write(source / "folder" / "inner" / "größe.txt", b"one")
    _write(source / "folder" / "empty", b"")
    names = [*filter(None, NAMES), *inputs.ARTIFACTS]  # an empty one means the file's own
    with stage.start() as run:
        for name in names:
            run.log_artifact(file, name=name, type="model")
        run.log_artifact(source / "folder", type="dataset")
        file.write_bytes(b"second")
        run.log_artifact(file, name=names[0], type="model")
    state = stage.deliver()
    expect(not refusals(state), f"artifacts were refused: {state.refused}")
    expected, rename = (*names, "folder"), stage.tracker.artifact_names.encode
    stage.expect_names(expected, rename)
    stage.expect_names_found("artifacts", {rename(name) for name in expected}, stage.read().artifacts)


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
