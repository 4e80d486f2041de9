"""The trackers to which transformers' Trainer reports by itself: a row for each.

The zygote of a tracker (`train_peer.py`) imports that SDK alone; everything here is called in it, or looks nothing up in an SDK.
"""

import contextlib
import csv
import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runcast.core.errors import FinalError
from runcast.integrations.contract import TrackedRun

Logged = Sequence[tuple[int, list[str]]]  # a step and its keys
Found = tuple[list[tuple[str, int]], str | None]  # key and step of each point, and the status
SINGLE = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Says how transformers uses a tracker.

    Attributes:
        imports: What its zygote imports first, before torch.
        places: The function of the SDK that the callback calls at a moment, or one that it calls in turn behind a guard against exceptions, where the
            SDK has one. A moment without a place is one at which the callback calls nothing.
        environment: What its zygote and its trainings find; {folder} in it is the trial's.
        expects: Lists key and step of each point that the tracker should have, of what was logged.
        read: Reads what is in a trial's folder.
        has_status: Whether the tracker, as the callback uses it, has a word for how a run ended.
        prepare: Makes files in an empty folder that every trial gets a copy of.
    """

    imports: str
    places: Mapping[str, str]
    environment: Mapping[str, str]
    expects: Callable[[Logged], list[tuple[str, int]]]
    read: Callable[[Path], Found]
    has_status: bool = True
    prepare: Callable[[Path], None] = lambda folder: None


# What a tracker should have, under the names that transformers 5.23.0 gives it in integrations/integration_utils.py


def _points(name_of: Callable[[str], str], but: Collection[str] = ()) -> Callable[[Logged], list[tuple[str, int]]]:
    """Expect each key that was logged at the step of the training, *but* some, which are values without a step there."""
    return lambda logged: [(name_of(key), step) for step, keys in logged for key in keys if key not in but]


def _for_dvclive(logged: Logged) -> list[tuple[str, int]]:
    """Expect the number of the log call in place of the step."""
    return [(key.replace("train_", "train/"), call) for call, (_, keys) in enumerate(logged) for key in keys]


def _for_codecarbon(logged: Logged) -> list[tuple[str, int]]:
    """Expect one measurement of a run that has begun."""
    return [("emissions", 0)] if logged else []


# Readers


def make_mlflow_tables(folder: Path) -> None:
    """Make a store without runs: making its tables takes seconds."""
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()


def read_mlflow(folder: Path) -> Found:
    """Ask MLflow's client, on the server's store if there is a server."""
    from mlflow import MlflowClient

    server = folder / "mlflow-server"
    store = server / "server.db" if server.exists() else folder / "mlflow.db"
    if not store.exists():
        return [], None
    client = MlflowClient(f"sqlite:///{store}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    points = [
        (metric.key, metric.step)
        for run in runs
        for key in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, key)
    ]
    return points, runs[0].info.status.lower() if runs else None


def read_wandb(folder: Path) -> Found:
    """Read the transaction files; one without an end is that of a failed run, says `wandb sync` (0.31.0) to the server."""
    from runcast.integrations.wandb.reader import read_files, read_records

    files = sorted(folder.glob("wandb/*run-*/run-*.wandb"))
    points, kinds = [], set()
    for record in (record for file in files for record in read_records(file)):
        kinds.add(record.WhichOneof("record_type"))
        if record.HasField("history"):
            row = {(tuple(item.nested_key) or (item.key,))[0]: item.value_json for item in record.history.item}
            step = json.loads(row.pop("train/global_step"))
            points += [(key, step) for key in row if not key.startswith("_")]
    status = read_files(files, {}).status if "exit" in kinds else "failed"
    return points, status if "run" in kinds else None


def read_tensorboard(folder: Path) -> Found:
    """Read the event files."""
    from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator

    if not (folder / "tensorboard").exists():
        return [], None
    events = EventAccumulator(str(folder / "tensorboard"), STORE_EVERYTHING_SIZE_GUIDANCE, purge_orphaned_data=False)
    events.Reload()
    return [(key, event.step) for key in events.scalars.Keys() for event in events.Scalars(key)], None


def read_comet(folder: Path) -> Found:
    """Read the archives: `comet upload` takes nothing else, and Comet makes one only when it ends."""
    from runcast.integrations.comet_ml.reader import MESSAGES, read_sessions

    whole = [file for file in folder.glob("comet/*.zip") if zipfile.is_zipfile(file)]
    whole = [file for file in whole if MESSAGES in zipfile.ZipFile(file).namelist()]
    reading = read_sessions(whole)
    return [(point.key, point.step) for point in reading.points], reading.status


def read_clearml(folder: Path) -> Found:
    """Read the folder of the offline session."""
    from runcast.integrations.clearml.reader import read_session

    for session in folder.glob("clearml/offline/*/"):
        reading = read_session(session, trust=False)
        return [(point.key, point.step) for point in reading.points], reading.status
    return [], None


def read_dvclive(folder: Path) -> Found:
    """Read the tables."""
    from runcast.integrations.dvclive import DvcliveTracker

    run = TrackedRun(
        id="run",
        name="run",
        project="faults",
        directory=folder,
        local=folder,
        created=0.0,
        online=False,
        ids={"dir": str(folder / "dvclive")},
    )
    with contextlib.suppress(FinalError):  # there is nothing
        return [(point.key, point.step) for point in DvcliveTracker().read(run).points], None
    return [], None


def read_codecarbon(folder: Path) -> Found:
    """Read the file."""
    return [("emissions", 0) for _ in _rows(folder / "out" / "emissions.csv")], None


def _rows(file: Path) -> Iterator[Mapping[str, str]]:
    if file.exists():
        with file.open(newline="") as text:
            yield from csv.DictReader(text)


TABLE: Mapping[str, Peer] = {
    "mlflow": Peer(
        imports="mlflow",
        places={
            "setup": "mlflow:start_run",
            "first log": "mlflow:log_metrics",
            "mid-run": "mlflow:log_metrics",
            "finish": "mlflow:end_run",
        },
        environment={"MLFLOW_TRACKING_URI": "sqlite:///{folder}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"},
        expects=_points(str),
        prepare=make_mlflow_tables,
        read=read_mlflow,
    ),
    "wandb": Peer(
        imports="wandb",
        places={
            "setup": "wandb:init",
            "mid-run": "wandb.sdk.wandb_run:Run.log",
            "finish": "wandb.sdk.lib.service.service_connection:ServiceConnection.teardown",
        },
        environment={"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"},
        expects=_points("train/{}".format, but=SINGLE),
        read=read_wandb,
    ),
    "tensorboard": Peer(
        imports="tensorboard",
        places={
            "setup": "torch.utils.tensorboard:SummaryWriter.__init__",
            "mid-run": "torch.utils.tensorboard:SummaryWriter.add_scalar",
            "finish": "torch.utils.tensorboard:SummaryWriter.close",
        },
        environment={"TENSORBOARD_LOGGING_DIR": "{folder}/tensorboard"},
        expects=_points("train/{}".format),
        read=read_tensorboard,
        has_status=False,
    ),
    "comet_ml": Peer(
        imports="comet_ml",
        places={
            "setup": "comet_ml.offline:OfflineExperiment._setup_streamer",
            "mid-run": "comet_ml.experiment:CometExperiment.__internal_api__log_metrics__",
            "finish": "comet_ml.experiment:CometExperiment._clean_experiment",
        },
        environment={
            "COMET_START_ONLINE": "0",
            "COMET_OFFLINE_DIRECTORY": "{folder}/comet",
            "COMET_ERROR_TRACKING_ENABLE": "0",
            "COMET_DISABLE_ANNOUNCEMENT": "1",
        },
        expects=_points("train/{}".format),
        read=read_comet,
    ),
    "clearml": Peer(
        imports="clearml",
        places={
            "setup": "clearml:Task.init",
            "mid-run": "clearml:Logger.report_scalar",
            "finish": "clearml:Task.flush",
        },
        environment={"CLEARML_OFFLINE_MODE": "1", "CLEARML_CACHE_DIR": "{folder}/clearml"},
        expects=_points("train/{}".format, but=(*SINGLE, "epoch")),
        read=read_clearml,
        has_status=False,  # an offline session has none
    ),
    "dvclive": Peer(
        imports="dvclive",
        places={
            "setup": "dvclive:Live.__init__",
            "mid-run": "dvclive:Live.log_metric",
            "finish": "dvclive:Live.end",
        },
        environment={"DVC_NO_ANALYTICS": "1", "DVC_STUDIO_OFFLINE": "true"},
        expects=_for_dvclive,
        read=read_dvclive,
        has_status=False,
    ),
    "codecarbon": Peer(
        imports="codecarbon",
        places={
            "setup": "codecarbon.external.scheduler:PeriodicScheduler.start",
            "finish": "codecarbon.emissions_tracker:BaseEmissionsTracker._persist_data",
        },
        environment={},
        expects=_for_codecarbon,
        read=read_codecarbon,
        has_status=False,
    ),
}
