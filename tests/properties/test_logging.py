"""Whatever a script gives to a run: no exception reaches the training, and nothing is lost without being counted."""

import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import runcast
from runcast.journal.reader import JournalReader
from runcast.journal.records import Finish, Media, Metrics, Params, Summary, Tags, points
from runcast.redaction.tree import redact
from runcast.values.names import NameRule, decode
from runcast.values.numbers import leaves as named
from runcast.values.params import flatten, plain
from tests.properties.conftest import examples


class Hostile:
    """Raises wherever it is touched."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def _raise(self, *_: object) -> Any:
        raise self.error("touched")

    __repr__ = __str__ = __len__ = __iter__ = __float__ = __bool__ = __eq__ = item = to_dict = _raise  # type: ignore[assignment]
    __hash__ = object.__hash__
    shape = property(_raise)


@dataclass
class Config:
    """Is a user's own class of settings."""

    first: Any
    second: Any = None


TEXT = st.text(st.characters(), max_size=40)
KEYS = st.one_of(
    TEXT,
    st.sampled_from(["loss", "train/loss", "", "a/b", "\ud800", "HF_TOKEN=abc1"]),
    st.integers(),
    st.none(),
    st.binary(max_size=4),
)
NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.booleans(),
    st.floats(width=32).map(np.float32),
    st.integers(-100, 100).map(np.int8),
    st.floats(allow_nan=False).map(lambda number: np.array([number])),
    st.fractions(),
    st.decimals(),
)


class Panic(BaseException):
    """Is raised by extensions that are written in Rust, and is no Exception."""


ERRORS = st.sampled_from([ValueError, RuntimeError, KeyError, RecursionError, AttributeError, ZeroDivisionError, Panic])
ODD = st.one_of(
    TEXT,
    st.none(),
    st.binary(max_size=20),
    st.complex_numbers(),
    ERRORS.map(Hostile),
    st.sampled_from([object(), len, int, np.zeros(3), np.array(["x"]), range(3), {1, 2}, Ellipsis, math]),
    st.datetimes(),
    st.builds(runcast.Text, TEXT),
)
VALUES = st.recursive(
    NUMBERS | ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
CONFIGS = st.recursive(
    NUMBERS | ODD,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Config, inner, inner)
    ),
    max_leaves=12,
)
STEPS = st.one_of(st.none(), st.integers(-5, 50), st.integers(), NUMBERS, ODD)


class Watched:
    """Is a run whose new records can be looked at after each call."""

    def __init__(self, run: runcast.Run) -> None:
        self.run = run
        self._reader = JournalReader(run.dir / "journal.jsonl")
        self.new()

    def new(self) -> list[Any]:
        """Return the records since the last time; every line of the journal has to be one."""
        records = list(self._reader)
        assert self._reader.damaged == 0
        return records

    def counts(self) -> tuple[int, int]:
        """Return how many values were logged, and how many were dropped and counted."""
        told = self.run.statistics()
        return told.logged, sum(told.dropped.values())


MEDIA = (runcast.Audio, runcast.Figure, runcast.Histogram, runcast.Image, runcast.Table, runcast.Text, runcast.Video)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Start one run for all examples of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("RUNCAST_QUIET", "1")
        run = runcast.init("p", report_to="none", dir=tmp_path_factory.mktemp("runs"))
        yield Watched(run)
        run.finish()


def leaves(values: Mapping[Any, Any], depth: int = 0) -> int:
    """Count the values of a nested mapping as `log` does: below eight levels all is one value, and so is a list of no media."""
    return sum(leaves(v, depth + 1) if isinstance(v, Mapping) and depth < 8 else parts(v) for v in values.values())


def texts(values: Mapping[Any, Any], depth: int = 0) -> int:
    """Count the bare texts of a nested mapping."""
    return sum(texts(v, depth + 1) if isinstance(v, Mapping) and depth < 8 else type(v) is str for v in values.values())


def parts(value: Any) -> int:
    """Count the parts of a list that holds media; anything else is one."""
    has_media = isinstance(value, list | tuple) and any(isinstance(part, MEDIA) for part in value)
    return len(value) if has_media else 1


def is_media(value: Any) -> bool:
    """Return whether a value is a medium or a list of nothing but media."""
    return isinstance(value, MEDIA) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(part, MEDIA) for part in value)
    )


def without_media(value: Any) -> Any:
    """Leave the media out of a nested mapping."""
    if not isinstance(value, Mapping):
        return value
    return {key: without_media(part) for key, part in value.items() if not is_media(part)}


@examples()
@given(st.dictionaries(KEYS, VALUES, max_size=6), STEPS)
def test_every_value_given_to_log_is_kept_or_counted(watched: Watched, values: dict[Any, Any], step: Any) -> None:
    """A value is in the journal as a number, is kept as media, or is counted as dropped; so is a step that is not whole."""
    logged, dropped = watched.counts()

    watched.run.log(values, step=step)

    records = watched.new()
    numbers = sum(len(record.values) for record in records if isinstance(record, Metrics))
    media = sum(type(record).__name__ == "Media" for record in records)
    logged_now, dropped_now = watched.counts()
    assert logged_now - logged == numbers
    kept = numbers + media + (dropped_now - dropped)
    assert (
        -texts(values) <= kept - leaves(values) <= 1
    )  # a text may be the last one again; the step counts, too, if it is bad


@examples()
@given(
    st.dictionaries(TEXT.filter(str.isalnum), st.floats() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8),
    st.integers(-(2**63), 2**63 - 1),
)
def test_a_number_comes_back_to_the_last_bit(watched: Watched, values: dict[str, Any], step: int) -> None:
    """Whatever its size, its sign or its step, NaN and the infinities included, and whatever the language of its key."""
    watched.run.log(values, step=step)

    found = [point for record in watched.new() if isinstance(record, Metrics) for point in points(record)]
    same = {point.key: (repr(point.value), point.step) for point in found}
    assert same == {key: (repr(value), step) for key, value in values.items()}


@examples()
@given(st.lists(STEPS, min_size=1, max_size=8))
def test_steps_are_what_was_given_or_the_last_one(watched: Watched, steps: list[Any]) -> None:
    """A step of 64 bits is used as it is; without one, or with a bad one, the last one holds."""
    watched.run.log({"loss": 1.0}, step=7)
    watched.new()
    expected = []
    for step in steps:
        watched.run.log({"loss": 1.0}, step=step)
        is_plain = type(step) is int and -(2**63) <= step < 2**63
        last = step if is_plain else watched.run.step  # what a float comes to is the run's to say, but it stays
        expected.append(last)

    assert [record.step for record in watched.new() if isinstance(record, Metrics)] == expected


@examples()
@given(CONFIGS)
def test_any_config_is_logged(watched: Watched, config: Any) -> None:
    """Whatever a config holds, it becomes flat params that were redacted, and each name stands once."""
    watched.run.log_params(config)

    expected = flatten(redact(plain(config)))
    logged = [record.values for record in watched.new() if isinstance(record, Params)]
    assert logged == ([expected] if expected else [])


@examples()
@given(CONFIGS)
def test_a_config_is_the_same_when_it_is_read_twice(config: Any) -> None:
    """The tree of a config is stable, and redacting it again changes nothing."""
    once = redact(plain(config))

    assert repr(redact(once)) == repr(once) == repr(redact(plain(config)))


@examples(0.5)
@given(st.dictionaries(TEXT, VALUES, max_size=5), st.lists(TEXT | ODD, max_size=4))
def test_a_summary_and_tags_are_kept_or_counted(watched: Watched, summary: dict[str, Any], tags: list[Any]) -> None:
    """Each final value is in the journal, or was None and is counted; each tag is there, or was empty and is counted."""
    _, dropped = watched.counts()
    media = {key: value for key, value in named(summary) if is_media(value)}

    watched.run.log_summary(summary)
    watched.run.add_tags(*tags)

    records = watched.new()
    kept = sum(len(record.values) for record in records if isinstance(record, Summary))
    kept += sum(isinstance(record, Media) for record in records)
    tags = [one for tag in tags for one in (tag if isinstance(tag, list | tuple | set | frozenset) else [tag])]
    no_texts = sum(isinstance(tag, Hostile) or not str(tag).strip() for tag in tags)
    given = len(flatten(redact(plain(without_media(summary))))) + sum(map(parts, media.values()))
    assert kept + watched.counts()[1] - dropped == given + no_texts
    assert sum(len(record.tags) for record in records if isinstance(record, Tags)) == len(tags) - no_texts


@examples(0.05)
@given(st.lists(st.lists(st.integers(0, 2**40), max_size=30), min_size=2, max_size=5))
def test_threads_lose_nothing(watched: Watched, series: list[list[int]]) -> None:
    """However the calls of several threads fall, each record is whole, and those of a thread stay in order."""
    barrier = threading.Barrier(len(series))

    def log(number: int, values: list[int]) -> None:
        barrier.wait()
        for step, value in enumerate(values):
            watched.run.log(
                {f"thread{number}": value, "odd": "no number"} if value % 3 == 0 else {f"thread{number}": value},
                step=step,
            )

    threads = [threading.Thread(target=log, args=each) for each in enumerate(series)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found: dict[str, list[tuple[float, int]]] = {}
    for record in watched.new():
        for point in points(record) if isinstance(record, Metrics) else ():
            found.setdefault(point.key, []).append((point.value, point.step))
    assert found == {f"thread{n}": [(v, s) for s, v in enumerate(values)] for n, values in enumerate(series) if values}


@examples(0.05)
@given(
    st.none() | TEXT,
    st.none() | TEXT,
    CONFIGS,
    st.lists(TEXT, max_size=3),
    st.none() | TEXT,
    st.none() | TEXT,
    st.sampled_from(["finished", "failed", "killed", "crashed"]),
    st.none() | TEXT,
)
def test_a_run_may_be_called_anything(
    tmp_path_factory: pytest.TempPathFactory,
    project: str | None,
    name: str | None,
    config: Any,
    tags: list[str],
    notes: str | None,
    group: str | None,
    status: str,
    error: str | None,
) -> None:
    """Any text is a project, a name, a tag, a note, a group, a traceback: the run begins, ends, and can be read."""
    root = tmp_path_factory.getbasetemp() / "any"

    run = runcast.init(project, name, config, report_to="none", dir=root, tags=tags, notes=notes, group=group)
    run.finish(status, error=error)  # type: ignore[arg-type]

    records = list(JournalReader(run.dir / "journal.jsonl"))
    assert isinstance(records[-1], Finish)
    assert records[-1].status == status
    assert (run.dir / "run.json").exists()


@examples(0.2)
@given(
    st.dictionaries(
        st.sampled_from(["resume", "delivery", "offline", "strict", "per_rank", "tags", "id", "setup", "report_to"]),
        ODD | NUMBERS,
        min_size=1,
    )
)
def test_a_wrong_argument_is_our_error(tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any]) -> None:
    """`init` takes an argument, or raises an OptionError (or one that is derived from it) that names it."""
    root = tmp_path_factory.getbasetemp() / "wrong"
    arguments = {key: value for key, value in arguments.items() if not isinstance(value, Hostile)}

    try:
        run = runcast.init("p", dir=root, **{"report_to": "none", **arguments})
    except runcast.RuncastError as error:
        message = str(error)
    else:
        message = "it was taken as it is"
        run.finish()
    assert len(message) > 20


NAME_RULES = st.sampled_from(
    [
        NameRule(r"[^A-Za-z0-9_./ -]"),
        NameRule(r"[^\w]", reserved=frozenset(("_step", "x"))),
        NameRule(r"\A-+|-+\Z"),
        NameRule(r"[/\\]|[\ud800-\udfff]"),
        NameRule(),
    ]
)


@examples()
@given(NAME_RULES, st.text(st.characters() | st.sampled_from("_x2f_/-."), max_size=30))
def test_a_name_is_undone(rule: NameRule, key: str) -> None:
    """Whatever a service cannot hold is escaped so that it comes back, and what was escaped is held."""
    name = rule.encode(key)

    assert decode(name) == key
    assert rule.encode(key) == name


@examples()
@given(NAME_RULES, st.lists(st.text(st.sampled_from("_x2f_/-.a"), max_size=12), min_size=2, max_size=6, unique=True))
def test_two_names_never_become_one(rule: NameRule, keys: list[str]) -> None:
    """No two keys share a name, however alike they look."""
    assert len({rule.encode(key) for key in keys}) == len(keys)
