"""For each check of the kit a tracker that breaks this promise and no other, as real services and integrations have."""

import contextlib
import os
import re
import struct
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import FinalError, TrackerError
from runcast.integrations.contract import ALL_KINDS, ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.testing import MemoryTracker
from runcast.values.points import Point


class DeclaresUnknownKind(MemoryTracker):
    supports = ALL_KINDS | {"plots"}  # type: ignore[assignment]


class ForgetsMethod(MemoryTracker):
    """Says that it holds tags, and has no method for them."""

    supports = ALL_KINDS
    add_tags = Tracker.add_tags


class OpensFileInConstructor(MemoryTracker):
    def __init__(self) -> None:
        with open(os.devnull):
            pass


class FinishesAgain(MemoryTracker):
    def finish(self, ending: Ending) -> None:
        if hasattr(self, "_path"):
            self._append(["status", ending.status], ["ended_at", ending.ended_at])


class HasNoUrl(MemoryTracker):
    def setup(self, run: TrackedRun) -> None:
        super().setup(run)
        run.url = None


class RenamesRun(MemoryTracker):
    def setup(self, run: TrackedRun) -> None:
        super().setup(run)
        self._append(["name", run.name.encode("ascii", "ignore").decode()])


class KnowsNoKilled(MemoryTracker):
    def finish(self, ending: Ending) -> None:
        super().finish(msgspec.structs.replace(ending, status="failed") if ending.status == "killed" else ending)


class CallsOpenRunFinished(MemoryTracker):
    def read(self, run: TrackedRun) -> Reading:
        reading = super().read(run)
        reading.status = "finished" if reading.status == "running" else reading.status
        return reading


class BeginsAnewWhenResumed(MemoryTracker):
    def setup(self, run: TrackedRun) -> None:
        path = self.path_of(run)
        if self.read(run).status not in (None, "running"):
            path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if '["point"' not in line))
        super().setup(run)


class CannotReadOpenRun(MemoryTracker):
    def read(self, run: TrackedRun) -> Reading:
        reading = super().read(run)
        if reading.status == "running":
            reading.points = []
        return reading


class ClosesForeignRun(MemoryTracker):
    def setup(self, run: TrackedRun) -> None:
        super().setup(run)
        if "MEMORY_RUN" in os.environ:
            self._path = Path(os.environ["MEMORY_RUN"])


class GivesUpAtOnce(MemoryTracker):
    def explain(self, error: Exception) -> TrackerError:
        return FinalError(str(error))


class SeesRunsEverywhere(MemoryTracker):
    def exists(self, run: TrackedRun) -> bool:
        return True


class MeasuresNothing(MemoryTracker):
    measures = True


class Metrics(MemoryTracker):
    """Passes each point through `change`; a point that becomes None is lost."""

    def change(self, point: Point) -> Point | None:
        raise NotImplementedError

    def log_metrics(self, points: Sequence[Point]) -> None:
        super().log_metrics([changed for point in points if (changed := self.change(point))])


class LosesSign(Metrics):
    def change(self, point: Point) -> Point:
        return point._replace(value=abs(point.value)) if -100 < point.value < -1 else point


class KeepsFloat32(Metrics):
    def change(self, point: Point) -> Point:
        try:
            return point._replace(value=struct.unpack("f", struct.pack("f", point.value))[0])
        except OverflowError:
            return point._replace(value=float("inf"))


class WritesZeroForNan(Metrics):
    def change(self, point: Point) -> Point:
        return point._replace(value=0.0) if point.value != point.value else point


class KnowsNoNegativeStep(Metrics):
    def change(self, point: Point) -> Point:
        return point._replace(step=max(0, point.step))


class FillsGaps(MemoryTracker):
    def log_metrics(self, points: Sequence[Point]) -> None:
        have = {(point.key, point.step) for point in points}
        steps = {point.step for point in points}
        sparse = [
            point
            for point in points
            if point.key.startswith("every ") and (point.key, point.step + 1) not in have and point.step + 1 in steps
        ]
        super().log_metrics([*points, *(point._replace(step=point.step + 1) for point in sparse)])


class LosesEqualPoints(MemoryTracker):
    def log_metrics(self, points: Sequence[Point]) -> None:
        super().log_metrics(list({point[:3]: point for point in points}.values()))


class KeepsTimeOfDelivery(Metrics):
    def change(self, point: Point) -> Point:
        return point._replace(time=time.time())


class CutsBatches(MemoryTracker):
    def log_metrics(self, points: Sequence[Point]) -> None:
        super().log_metrics(points[:4096])


class DropsControlCharacters(Metrics):
    def change(self, point: Point) -> Point:
        return point._replace(key=point.key.replace("\x07", ""))


class KeepsStepForItself(Metrics):
    def change(self, point: Point) -> Point | None:
        return None if point.key == "_step" else point


class CutsKeys(Metrics):
    def change(self, point: Point) -> Point:
        return point._replace(key=point.key[:250])


class MakesKeysFolders(MemoryTracker):
    def log_metrics(self, points: Sequence[Point]) -> None:
        super().log_metrics(
            [
                point
                for point in points
                if point.key != "loss" or not any(other.key.startswith("loss/") for other in points)
            ]
        )


class NormalisesKeys(Metrics):
    def change(self, point: Point) -> Point:
        return point._replace(key=unicodedata.normalize("NFC", point.key))


class KeepsHundredParams(MemoryTracker):
    def log_params(self, params: Mapping[str, Any]) -> None:
        super().log_params(dict(list(params.items())[:100]))


class LosesNone(MemoryTracker):
    def log_params(self, params: Mapping[str, Any]) -> None:
        super().log_params({key: value for key, value in params.items() if value is not None})


class CutsParams(MemoryTracker):
    def log_params(self, params: Mapping[str, Any]) -> None:
        super().log_params({key: value[:250] if isinstance(value, str) else value for key, value in params.items()})


class KeepsFirstParam(MemoryTracker):
    def setup(self, run: TrackedRun) -> None:
        super().setup(run)
        self._run = run

    def log_params(self, params: Mapping[str, Any]) -> None:
        super().log_params({**params, **(self.read(self._run).params or {})})


class LosesTextsInSummary(MemoryTracker):
    def log_summary(self, values: Mapping[str, Any]) -> None:
        super().log_summary({key: value for key, value in values.items() if not isinstance(value, str)})


class LowersTags(MemoryTracker):
    def add_tags(self, tags: Sequence[str]) -> None:
        super().add_tags([tag.lower() for tag in tags])


class HoldsNoTable(MemoryTracker):
    def log_media(self, media: MediaFile) -> None:
        if media.kind != "table":
            super().log_media(media)


class KeepsLastMediaOfKey(MemoryTracker):
    def log_media(self, media: MediaFile) -> None:
        super().log_media(msgspec.structs.replace(media, key=re.sub(r"/\d+\Z", "", media.key)))


class HoldsNoFolder(MemoryTracker):
    def log_artifact(self, artifact: ArtifactFile) -> None:
        if artifact.path.is_file():
            super().log_artifact(artifact)


class MixesUpFiles(MemoryTracker):
    def read(self, run: TrackedRun) -> Reading:
        reading = super().read(run)
        names = [name for name in reading.contents if isinstance(name, str)]
        reading.contents.update(zip(names, [reading.contents[name] for name in reversed(names)], strict=True))
        return reading


BROKEN: Mapping[str, type[MemoryTracker]] = {
    "declaration": DeclaresUnknownKind,
    "kinds": ForgetsMethod,
    "construction": OpensFileInConstructor,
    "setup_and_finish_twice": FinishesAgain,
    "empty_run": HasNoUrl,
    "identity": RenamesRun,
    "statuses": KnowsNoKilled,
    "open_run": CallsOpenRunFinished,
    "resume": BeginsAnewWhenResumed,
    "sudden_death": CannotReadOpenRun,
    "foreign_run": ClosesForeignRun,
    "explanation": GivesUpAtOnce,
    "existence": SeesRunsEverywhere,
    "measurements": MeasuresNothing,
    "values": LosesSign,
    "precise_values": KeepsFloat32,
    "non_finite_values": WritesZeroForNan,
    "steps": KnowsNoNegativeStep,
    "sparse_points": FillsGaps,
    "repeated_points": LosesEqualPoints,
    "times": KeepsTimeOfDelivery,
    "batches": CutsBatches,
    "odd_keys": DropsControlCharacters,
    "reserved_keys": KeepsStepForItself,
    "long_keys": CutsKeys,
    "nested_keys": MakesKeysFolders,
    "similar_keys": NormalisesKeys,
    "many_params": KeepsHundredParams,
    "odd_params": LosesNone,
    "long_params": CutsParams,
    "changed_params": KeepsFirstParam,
    "summary": LosesTextsInSummary,
    "tags": LowersTags,
    "media": HoldsNoTable,
    "repeated_media": KeepsLastMediaOfKey,
    "artifacts": HoldsNoFolder,
    "contents": MixesUpFiles,
}


@contextlib.contextmanager
def open_foreign_run(folder: Path) -> Iterator[Callable[[], bool]]:
    """Open a run as a user of the memory tracker would, if it had a client of its own."""
    path = folder / "foreign.jsonl"
    path.write_text('\n["status", "running"]')
    os.environ["MEMORY_RUN"] = str(path)
    try:
        yield lambda: "finished" not in path.read_text()
    finally:
        del os.environ["MEMORY_RUN"]
