"""`report_to`: every form that people write, what it selects, and what it says when it cannot."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runcast.autodetect import select, survey
from runcast.autodetect.health import examine
from runcast.autodetect.selection import canonical_name
from runcast.core.errors import OptionError, TrackerUnavailableError, UnknownTrackerError
from runcast.integrations.contract import Tracker
from runcast.integrations.table import TABLE
from runcast.testing import MemoryTracker
from tests.autodetect.conftest import Site
from tests.second_rank import EACH

FIRST = ["wandb", "mlflow", "comet_ml", "clearml", "dvclive", "tensorboard"]
METERS = ["codecarbon", "system"]  # which come last
ALL = [*FIRST, "swanlab", "trackio", "aim", *METERS]
NAMES = [*FIRST, "swanlab", "trackio", "dagshub", "azure_ml", "flyte", "aim", *METERS]  # three have no local mode
VALID = f"{', '.join(NAMES)}, all, none"

FORMS: list[tuple[Any, list[str]]] = [
    (None, []),
    (False, []),
    ("", []),
    ("none", []),
    ("None", []),
    (["none"], []),
    ([], []),
    ((), []),
    (set(), []),
    ([None], []),
    ([""], []),
    (",", []),
    (True, ALL),
    ("all", ALL),
    (" ALL ", ALL),
    (["all"], ALL),
    (["all", "wandb"], ALL),
    ("wandb", ["wandb"]),
    ("WandB", ["wandb"]),
    ("wandb,mlflow", ["wandb", "mlflow"]),
    (" wandb , mlflow ,", ["wandb", "mlflow"]),
    (["mlflow", "wandb"], ["wandb", "mlflow"]),
    (("tensorboard",), ["tensorboard"]),
    ({"dvclive"}, ["dvclive"]),
    (["wandb,mlflow", "clearml"], ["wandb", "mlflow", "clearml"]),
    (["wandb", "wandb", "WANDB"], ["wandb"]),
    ("comet", ["comet_ml"]),
    (["comet", "comet_ml"], ["comet_ml"]),
    ({"wandb": 1, "mlflow": 2}.keys(), ["wandb", "mlflow"]),
]


@pytest.mark.parametrize(("report_to", "expected"), FORMS, ids=lambda value: repr(value)[:40])
def test_every_form_of_report_to_selects_what_it_says(report_to: Any, expected: list[str], site: Site) -> None:
    """Names in any case and collection, comma lists, aliases, "all", "none" and nothing mean what people expect."""
    site.install_all()

    selection = select(report_to, environ={})

    assert list(selection.chosen) == expected
    assert selection.objects == {}


@pytest.mark.parametrize(
    ("variable", "expected"), [("mlflow,comet", ["mlflow", "comet_ml"]), ("none", []), ("", ALL), ("all", ALL)]
)
def test_the_environment_is_the_default(variable: str, expected: list[str], site: Site) -> None:
    """Without the argument RUNCAST_REPORT_TO decides, and without that every tracker is reported to."""
    site.install_all()

    assert list(select(environ={"RUNCAST_REPORT_TO": variable}).chosen) == expected
    assert list(select(..., environ={}).chosen) == ALL


def test_an_argument_beats_the_environment(site: Site) -> None:
    """What the script says holds, whatever RUNCAST_REPORT_TO is."""
    site.install_all()

    assert list(select("wandb", environ={"RUNCAST_REPORT_TO": "mlflow"}).chosen) == ["wandb"]
    assert list(select(None, environ={"RUNCAST_REPORT_TO": "mlflow"}).chosen) == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("wanbd", f"There is no tracker 'wanbd'. Did you mean 'wandb'? Valid names are: {VALID}."),
        ("ml-flow", f"There is no tracker 'ml-flow'. Did you mean 'mlflow'? Valid names are: {VALID}."),
        ("comet-ml", f"There is no tracker 'comet-ml'. Did you mean 'comet_ml'? Valid names are: {VALID}."),
        ("tensor_board", f"There is no tracker 'tensor_board'. Did you mean 'tensorboard'? Valid names are: {VALID}."),
        ("xyz", f"There is no tracker 'xyz'. Valid names are: {VALID}."),
    ],
)
def test_an_unknown_name_is_told_what_was_meant(word: str, message: str, site: Site) -> None:
    """A wrong name raises at once, lists the valid ones and names the one that is close."""
    with pytest.raises(UnknownTrackerError) as caught:
        select(["wandb", word] if word == "xyz" else word, environ={})

    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("report_to", [1, 2.5, [1], ["wandb", 3], int, {"wandb": 1}.values(), b"wandb"], ids=repr)
def test_what_is_no_tracker_is_an_error(report_to: Any, site: Site) -> None:
    """A number, an object or a class that is no Tracker is refused with what is valid."""
    with pytest.raises(
        OptionError, match=r"is not a tracker\. Use names|neither a tracker's name nor a runcast\.Tracker"
    ):
        select(report_to, environ={})


@pytest.mark.parametrize("report_to", ["none,wandb", ["none", "wandb"], ["none", MemoryTracker]])
def test_none_and_something_contradict_each_other(report_to: Any, site: Site) -> None:
    """The word "none" beside a name is a mistake, not a choice."""
    with pytest.raises(OptionError, match="says both 'none' and something else"):
        select(report_to, environ={})


def test_a_missing_tracker_asked_for_by_name_is_an_error_with_the_command(site: Site) -> None:
    """Who names a tracker that is not installed is told how to install it."""
    with pytest.raises(TrackerUnavailableError) as caught:
        select(["wandb"], environ={})

    assert (
        str(caught.value) == "wandb is not installed. You asked for it with report_to=['wandb']. "
        "Install it with: pip install 'runcast[wandb]'"
    )


def test_a_missing_tracker_in_the_variable_is_an_error_too(site: Site) -> None:
    """A name in RUNCAST_REPORT_TO counts as asked for, and the message says where it stands."""
    with pytest.raises(
        TrackerUnavailableError, match=r"^mlflow is not installed\. You asked for it with RUNCAST_REPORT_TO\."
    ):
        select(environ={"RUNCAST_REPORT_TO": "mlflow"})


def test_a_missing_tracker_under_all_is_a_reason(site: Site) -> None:
    """Under "all" what is not installed is skipped, with the reason and the command."""
    site.install("mlflow", "3.17.2", "mlflow")

    selection = select("all", environ={})

    assert list(selection.chosen) == ["mlflow"]
    assert selection.skipped["wandb"] == "is not installed. Install it with: pip install 'runcast[wandb]'"
    assert len(selection.skipped) == len(NAMES) - 1


@pytest.mark.parametrize("report_to", ["neptune", "Neptune", ["all", "neptune"], "wandb,neptune"])
def test_a_service_that_has_ended_is_an_error_by_name_that_says_where_to_go(report_to: Any, site: Site) -> None:
    """Neptune's SDK may still be installed: it is never under "all", and the error names the trackers that are left."""
    site.install_all()
    site.install("neptune", "1.14.0.post2", "neptune")

    with pytest.raises(
        TrackerUnavailableError,
        match=r"^neptune: Neptune ended its service on 2026-03-05\. .*: wandb, mlflow, comet_ml, ",
    ) as refused:
        select(report_to, environ={})
    assert "codecarbon" not in str(refused.value)
    assert "neptune" not in {**(everything := select("all", environ={})).chosen, **everything.skipped}
    (seen,) = (each for each in examine(site.path, environ={}).trackers if each.name == "neptune")
    assert (seen.version, seen.mode, seen.support) == ("1.14.0.post2", None, "ended")
    assert seen.problem == "Neptune ended its service on 2026-03-05"


def test_a_service_that_has_ended_is_no_tracker_of_ours(site: Site) -> None:
    """Where its SDK is not installed nobody hears of it, and a third party may bring a tracker of that name."""
    assert "neptune" not in [seen.name for seen in examine(site.path, environ={}).trackers]
    with pytest.raises(TrackerUnavailableError, match="ended its service"):
        select(None, setup={"neptune": {}}, environ={})

    site.install("acme", "1.0", "acme", "[runcast.trackers]\nneptune = acme:Mine\n")

    assert select("neptune", environ={}).chosen["neptune"].tracker == "acme:Mine"


AT_DAGSHUB = {"MLFLOW_TRACKING_URI": "https://dagshub.com/owner/digits.mlflow"}


def test_under_all_a_server_gets_a_run_once(site: Site) -> None:
    """At DagsHub's address DagsHub speaks for MLflow; asked for by name, MLflow writes there, too."""
    site.install_all()

    everything = select("all", environ=AT_DAGSHUB)

    assert (everything.chosen["dagshub"].online, "mlflow" in everything.chosen) == (True, False)
    assert everything.skipped["mlflow"] == "dagshub writes to the same server"
    assert {"dagshub", "mlflow"} <= select(["mlflow", "all"], environ=AT_DAGSHUB).chosen.keys()
    assert list(select("mlflow", environ=AT_DAGSHUB).chosen) == ["mlflow"]
    elsewhere = select("all", environ={"MLFLOW_TRACKING_URI": "https://mlflow.example.org"})
    assert ("mlflow" in elsewhere.chosen, "dagshub" in elsewhere.chosen) == (True, False)


def test_at_azure_its_own_row_speaks_for_mlflow(site: Site) -> None:
    """Under "all", with the variable that a job at Azure has; without Azure's package MLflow does."""
    environ = {"MLFLOW_TRACKING_URI": "azureml://west.api.azureml.ms/mlflow/v1.0/x"}
    site.install("mlflow", "3.15.0", "mlflow")
    assert list(select("all", environ=environ).chosen) == ["mlflow"]

    site.install("azureml-mlflow", "1.62.0.post6", "azureml")

    assert list(select("all", environ=environ).chosen) == ["azure_ml"]
    assert select("azureml", environ=environ).chosen["azure_ml"].online
    with pytest.raises(TrackerUnavailableError, match="azure_ml has no local mode"):
        select("azureml", environ={})


def test_flyte_takes_part_in_a_task_only(site: Site) -> None:
    """Elsewhere its name is an error that says how to get there, and "all" leaves it out."""
    site.install_all()

    with pytest.raises(TrackerUnavailableError, match=r"flyte works in a task of Flyte only.*@flytekit\.task"):
        select("flyte", environ={})
    assert select("all", environ={}).skipped["flyte"].startswith("works in a task of Flyte only")


def test_a_python_for_which_there_is_no_package_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not say what pip would: that there is no matching distribution."""
    monkeypatch.setattr("platform.python_version", lambda: "3.13.1")

    with pytest.raises(TrackerUnavailableError, match=r"aim has no package for Python 3\.13 and newer\..*older Python"):
        select("aim", environ={})
    monkeypatch.setattr("platform.python_version", lambda: "3.12.9")
    with pytest.raises(TrackerUnavailableError, match=r"aim is not installed.*pip install 'runcast\[aim\]'"):
        select("aim", environ={})


def test_dagshub_has_no_local_mode(site: Site) -> None:
    """By name it is an error that says which variables to set."""
    site.install_all()

    with pytest.raises(TrackerUnavailableError, match=r"dagshub has no local mode.*export DAGSHUB_REPO=owner/name"):
        select("dagshub", environ={})
    chosen = select("dagshub", setup={"dagshub": {"repo": "owner/digits"}}, environ={}).chosen["dagshub"]
    assert (chosen.online, chosen.reason) == (True, "credentials from DAGSHUB_REPO")


def test_all_does_not_excuse_a_name_beside_it(site: Site) -> None:
    """`report_to=["all", "wandb"]` insists on wandb."""
    with pytest.raises(TrackerUnavailableError, match="wandb is not installed"):
        select(["all", "wandb"], environ={})


def test_an_old_version_is_an_error_by_name_and_a_reason_under_all(site: Site) -> None:
    """A version below the lowest one that works is not used, and the message says which is needed."""
    site.install("wandb", "0.9.7", "wandb")

    with pytest.raises(
        TrackerUnavailableError, match=r"wandb 0\.9\.7 is too old, 0\.22 or newer is needed\..* pip install -U wandb"
    ):
        select("wandb", environ={})
    assert select("all", environ={}).skipped["wandb"].startswith("0.9.7 is too old")


def test_a_distribution_without_its_package_is_broken(site: Site) -> None:
    """Metadata that an interrupted uninstallation left behind is no tracker."""
    site.install("clearml", "2.1.12", None)

    with pytest.raises(
        TrackerUnavailableError,
        match=r"clearml is broken: clearml 2\.1\.12 is installed, but its package clearml is missing\..*pip install --force-reinstall clearml",
    ):
        select("clearml", environ={})


def test_a_folder_named_wandb_is_no_wandb(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that offline runs leave in the working directory is neither an installation nor its package."""
    work = tmp_path / "work"
    (work / "wandb" / "offline-run-1").mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "path", [str(work), *sys.path])  # not syspath_prepend, which would undo it wrongly

    assert "is not installed" in select("all", environ={}).skipped["wandb"]

    site.install("wandb", "0.31.0", None)
    assert "is broken" in select("all", environ={}).skipped["wandb"]


SERVER = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}


def test_a_smaller_distribution_of_the_same_package_counts(site: Site) -> None:
    """mlflow-skinny is an MLflow, for a server or a folder of files."""
    site.install("mlflow-skinny", "3.15.0", "mlflow")

    assert select("mlflow", environ=SERVER).chosen["mlflow"].version == "3.15.0"
    assert select("mlflow", environ={"MLFLOW_TRACKING_URI": "file:///runs"}).chosen["mlflow"].version == "3.15.0"
    assert "mlflow" in select("mlflow", environ={}, setup={"mlflow": {"tracking_uri": "http://server"}}).chosen


@pytest.mark.parametrize("offline", [None, True])
def test_mlflow_skinny_alone_keeps_no_local_runs_and_says_so(
    site: Site, offline: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no database: by name that is an error with the command, under "all" it is skipped, doctor is not green."""
    site.install("mlflow-skinny", "3.17.2", "mlflow")
    for name in ("sqlalchemy", "alembic"):  # another test may have imported them in this process
        monkeypatch.delitem(sys.modules, name, raising=False)
    environ = SERVER if offline else {}
    problem = "cannot keep runs locally: sqlalchemy and alembic are not installed"

    with pytest.raises(TrackerUnavailableError) as refused:
        select("mlflow", offline=offline, environ=environ)
    (mlflow,) = (seen for seen in examine(site.path, offline, environ).trackers if seen.name == "mlflow")

    assert f"mlflow {problem}." in str(refused.value)
    assert "Install the rest with: pip install mlflow (or " in str(refused.value)
    assert problem in select("all", offline=offline, environ=environ).skipped["mlflow"]
    assert (mlflow.mode, mlflow.problem) == (None, problem)
    (site.path / "SQLAlchemy-2.0.dist-info").mkdir()
    (site.path / "alembic-1.0.dist-info").mkdir()
    assert "mlflow" in select("all", offline=offline, environ=environ).chosen


@pytest.mark.parametrize(
    ("name", "requirement", "missing"),
    [
        ("tensorboard", "protobuf!=4.24.0,>=3.19.6", "protobuf"),
        ("tensorboard", "numpy>=1.12.0", "numpy"),
        ("dvclive", "dvc>=3.48.4", "dvc"),
        ("comet_ml", "requests>=2.18.4", "requests"),
        ("comet_ml", "python-box<7.0.0", "python-box"),
        ("clearml", "Pillow>=10.3.0; python_version >= '3.8'", "pillow"),
        ("codecarbon", "pandas", "pandas"),
        ("wandb", "protobuf!=4.21.0,<8,>=3.19.0; sys_platform == 'linux'", "protobuf"),
        ("mlflow", "requests<3,>=2.17.3", "requests"),
    ],
)
def test_an_sdk_without_what_it_cannot_be_imported_without_is_broken(
    site: Site, name: str, requirement: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name an error with the command that mends it; under "all" it is skipped with the reason."""
    row = TABLE[name]
    (module,) = (need.partition(":")[2] or need for need in row.needs if need.partition(":")[0] == missing)
    for imported in [each for each in sys.modules if each.split(".")[0] == module.split(".")[0]]:
        monkeypatch.delitem(sys.modules, imported)
    site.install(row.distribution, row.tested, row.package, requires=[requirement, 'other>1 ; extra == "all"'])
    problem = f"is broken: it requires {missing}, which is not installed"

    with pytest.raises(TrackerUnavailableError, match=f"pip install --force-reinstall {row.distribution}"):
        select(name, environ={})
    assert problem in select("all", environ={}).skipped[name]

    (site.path / f"{missing.replace('-', '_')}-99.dist-info").mkdir()
    assert name in select("all", environ={}).chosen


def test_what_a_version_does_not_require_is_not_missed(site: Site) -> None:
    """Older versions of an SDK need less, and an extra is no need."""
    site.install("wandb", "0.22.0", "wandb", requires=["click>=8", 'xxhash ; extra == "fast"'])
    site.install("click", "8.0", "click")

    assert "wandb" in select("wandb", environ={}).chosen


def test_wandb_without_its_core_is_broken(site: Site) -> None:
    """A build for another platform has no program in it."""
    site.install("wandb", "0.31.0", "wandb")
    (site.path / "wandb" / "bin" / "wandb-core").unlink()

    assert "is broken: its bin/wandb-core is missing" in select("all", environ={}).skipped["wandb"]


def test_a_script_named_wandb_does_not_break_wandb(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a first try is often called; a delivery has the script's folder last in its path, and finds the package."""
    site.install("wandb", "0.31.0", "wandb")
    work = tmp_path / "work"
    work.mkdir()
    (work / "wandb.py").write_text("raise AssertionError('autodetection must not import this')")
    monkeypatch.setattr(sys, "path", [str(work), *sys.path])

    assert "wandb" in select("wandb", environ={}).chosen


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_what_the_table_says_an_sdk_needs_it_does_need(name: str) -> None:
    """The real SDK cannot be imported without the first and the last of its needs."""
    code = """
import sys
from runcast.integrations.loading import load_tracker
sys.modules[sys.argv[1]] = None
load_tracker(sys.argv[2])
"""
    for need in {*TABLE[name].needs[-2:]}:
        module = need.partition(":")[2] or need.replace("-", "_")
        command = [sys.executable, "-c", code, module, TABLE[name].tracker]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, module in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("name", ["comet_ml", "Comet.ML"])
def test_a_distribution_is_found_however_its_metadata_writes_its_name(name: str, site: Site) -> None:
    """Upper case, dots and underscores in the name of a metadata folder make no difference."""
    (site.path / f"{name}-3.58.8.dist-info").mkdir()
    (site.path / "comet_ml").mkdir()
    (site.path / "comet_ml" / "__init__.py").touch()

    assert list(select("comet", environ={}).chosen) == ["comet_ml"]


SWITCHES = [
    ("wandb", {"WANDB_MODE": "disabled"}, "switched off by WANDB_MODE=disabled"),
    ("wandb", {"WANDB_DISABLED": "true"}, "switched off by WANDB_DISABLED=true"),
    ("wandb", {"WANDB_DISABLED": "1"}, "switched off by WANDB_DISABLED=1"),
    ("mlflow", {"DISABLE_MLFLOW_INTEGRATION": "TRUE"}, "switched off by DISABLE_MLFLOW_INTEGRATION=TRUE"),
    ("comet_ml", {"COMET_MODE": "DISABLED"}, "switched off by COMET_MODE=DISABLED"),
]


@pytest.mark.parametrize(("name", "environ", "reason"), SWITCHES)
def test_the_variables_that_switch_a_tracker_off_keep_their_meaning(
    name: str, environ: dict[str, str], reason: str, site: Site
) -> None:
    """A tracker that the user has switched off takes no part, under "all" and by name, without an error."""
    site.install_all()

    for report_to in ("all", name):
        selection = select(report_to, environ=environ)
        assert name not in selection.chosen
        assert selection.skipped[name] == reason


@pytest.mark.parametrize(
    ("name", "options", "environ", "found"),
    [
        ("wandb", {"mode": "disabled"}, {}, "switched off by WANDB_MODE=disabled"),
        ("wandb", {"mode": "disabled"}, {"WANDB_MODE": "online"}, "switched off by WANDB_MODE=disabled"),
        ("wandb", {"mode": "offline"}, {}, "WANDB_MODE=offline"),
        ("wandb", {"mode": "online"}, {"WANDB_MODE": "disabled"}, "credentials from WANDB_API_KEY"),
        ("comet_ml", {"online": False}, {}, "COMET_START_ONLINE=False"),
        ("comet_ml", {"online": True}, {"COMET_START_ONLINE": "0"}, "credentials from COMET_API_KEY"),
        ("wandb", {"settings": {"mode": "offline"}}, {}, "WANDB_MODE=offline"),
        ("wandb", {"settings": SimpleNamespace(model_fields_set={"mode"}, mode="offline")}, {}, "WANDB_MODE=offline"),
        ("comet_ml", {"api_key": "their-own"}, {"COMET_API_KEY": ""}, "credentials from COMET_API_KEY"),
        ("codecarbon", {"api_key": "their-own"}, {}, "credentials from CODECARBON_API_KEY"),
    ],
)
def test_an_option_that_switches_a_tracker_beats_the_variable(
    name: str, options: dict[str, object], environ: dict[str, str], found: str, site: Site
) -> None:
    """What `setup` says of off, offline and online is what `init` prints and what the tracker does."""
    site.install_all()
    keys = {"WANDB_API_KEY": "k" * 40, "COMET_API_KEY": "k" * 25}

    selection = select(name, setup={name: options}, environ={**keys, **environ})

    choice = selection.chosen.get(name)
    assert found == (choice.reason if choice else selection.skipped[name])
    assert choice is None or choice.online == found.startswith("credentials")


@pytest.mark.parametrize(
    "environ",
    [
        {"WANDB_DISABLED": "false"},
        {"WANDB_DISABLED": ""},
        {"WANDB_MODE": "online"},
        {"DISABLE_MLFLOW_INTEGRATION": "0"},
    ],
)
def test_a_switch_that_is_not_set_switches_nothing(environ: dict[str, str], site: Site) -> None:
    """A variable that says no, or is empty, changes nothing."""
    site.install_all()

    assert list(select("all", environ=environ).chosen) == ALL


WANDB_KEY = {"WANDB_API_KEY": "k" * 40}
MODES: list[tuple[str, dict[str, str], bool | None, bool, str]] = [
    ("wandb", {}, None, False, "no credentials"),
    ("wandb", WANDB_KEY, None, True, "credentials from WANDB_API_KEY"),
    ("wandb", WANDB_KEY | {"WANDB_MODE": "offline"}, None, False, "WANDB_MODE=offline"),
    ("wandb", WANDB_KEY | {"WANDB_MODE": "dryrun"}, None, False, "WANDB_MODE=dryrun"),
    ("wandb", WANDB_KEY | {"WANDB_MODE": "offline"}, False, True, "credentials from WANDB_API_KEY"),
    ("wandb", WANDB_KEY, True, False, "offline=True"),
    ("mlflow", {}, None, False, "no credentials"),
    ("mlflow", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}, None, True, "credentials from MLFLOW_TRACKING_URI"),
    ("mlflow", {"MLFLOW_TRACKING_URI": "databricks"}, None, True, "credentials from MLFLOW_TRACKING_URI"),
    ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///x.db"}, None, False, "no credentials"),
    ("mlflow", {"MLFLOW_TRACKING_URI": "/data/mlruns"}, None, False, "no credentials"),
    ("comet_ml", {"COMET_API_KEY": "k"}, None, True, "credentials from COMET_API_KEY"),
    ("comet_ml", {"COMET_API_KEY": "k", "COMET_MODE": "offline"}, None, False, "COMET_MODE=offline"),
    ("comet_ml", {"COMET_API_KEY": "k", "COMET_START_ONLINE": "0"}, None, False, "COMET_START_ONLINE=0"),
    ("wandb", {"WANDB_IDENTITY_TOKEN_FILE": "/t"}, None, True, "credentials from WANDB_IDENTITY_TOKEN_FILE"),
    ("clearml", {"CLEARML_API_HOST": "h", "CLEARML_API_ACCESS_KEY": "a"}, None, False, "no credentials"),
    (
        "clearml",
        {"CLEARML_API_ACCESS_KEY": "a", "CLEARML_API_SECRET_KEY": "s"},
        None,
        True,
        "credentials from CLEARML_API_ACCESS_KEY",
    ),
    ("clearml", {"CLEARML_AUTH_TOKEN": "t"}, None, True, "credentials from CLEARML_AUTH_TOKEN"),
    (
        "clearml",
        {
            "CLEARML_API_HOST": "h",
            "CLEARML_API_ACCESS_KEY": "a",
            "CLEARML_API_SECRET_KEY": "s",
            "CLEARML_OFFLINE_MODE": "1",
        },
        None,
        False,
        "CLEARML_OFFLINE_MODE=1",
    ),
    ("dvclive", {}, None, False, "no credentials"),
    ("tensorboard", {}, None, False, "always local"),
    ("tensorboard", {}, False, False, "always local"),
]


@pytest.mark.parametrize(("name", "environ", "offline", "online", "reason"), MODES)
def test_a_tracker_is_online_where_the_user_configured_it(
    name: str, environ: dict[str, str], offline: bool | None, online: bool, reason: str, site: Site, tmp_path: Path
) -> None:
    """Credentials decide between online and local, the tracker's own variable beats them, `offline` beats that."""
    site.install_all()

    choice = select(name, offline=offline, environ={"HOME": str(tmp_path), **environ}).chosen[name]

    assert (choice.online, choice.reason) == (online, reason)


FILES = [
    ("wandb", ".netrc", "machine api.wandb.ai\n  login user\n  password " + "k" * 40 + "\n", True),
    ("wandb", ".netrc", "machine github.com login me password x\n", False),
    ("wandb", ".netrc", "# machine api.wandb.ai\n", False),
    ("comet_ml", ".comet.config", "[comet]\napi_key = abc\n", True),
    ("comet_ml", ".comet.config", "[comet]\n# api_key = abc\napi_key =\n", False),
    ("clearml", "clearml.conf", 'api { credentials {"access_key" = "AAA", "secret_key" = "BBB"} }\n', True),
    ("clearml", "clearml.conf", "api {\n  # access_key: AAA\n}\n", False),
]


@pytest.mark.parametrize(("name", "file", "text", "online"), FILES)
def test_credentials_in_the_users_files_count(
    name: str, file: str, text: str, online: bool, site: Site, tmp_path: Path
) -> None:
    """What `wandb login`, `comet login` and `clearml-init` leave in the home folder is found; a comment is none."""
    site.install_all()
    (tmp_path / file).write_text(text)

    choice = select(name, environ={"HOME": str(tmp_path)}).chosen[name]

    assert choice.online is online


def test_credentials_for_another_server_are_not_used(site: Site, tmp_path: Path) -> None:
    """With WANDB_BASE_URL the netrc entry of that host counts, not the one of the public service."""
    site.install_all()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password " + "k" * 40)
    environ = {"HOME": str(tmp_path), "WANDB_BASE_URL": "https://wandb.example.org:8080"}

    assert not select("wandb", environ=environ).chosen["wandb"].online
    (tmp_path / ".netrc").write_text("machine wandb.example.org login user password " + "k" * 40)
    assert select("wandb", environ=environ).chosen["wandb"].online


THEIR_KEY = "machine wandb.example.org:8080 login user password k\n"
SDKS_FILES = [
    (
        "wandb",
        {".config/wandb/settings": "[default]\nbase_url = http://wandb.example.org:8080\n", ".netrc": THEIR_KEY},
        {},
        True,
    ),
    (
        "wandb",
        {"there/settings": "[default]\nbase_url: http://wandb.example.org:8080\n", ".netrc": THEIR_KEY},
        {"WANDB_CONFIG_DIR": "there"},
        True,
    ),
    ("wandb", {".netrc": THEIR_KEY}, {}, False),
    ("wandb", {"wandb/settings": "[default]\nmode = offline\n"}, {"WANDB_API_KEY": "k"}, False),
    ("wandb", {"wandb/settings": "[default]\nmode = disabled\n"}, {"WANDB_API_KEY": "k"}, None),
    ("wandb", {"wandb/settings": "[default]\nmode = disabled\n"}, {"WANDB_API_KEY": "k", "WANDB_MODE": "online"}, True),
    (
        "wandb",
        {".config/wandb/settings": "[default]\nmode = offline\n", "wandb/settings": "[default]\nmode = online\n"},
        {"WANDB_API_KEY": "k"},
        True,
    ),
    ("comet_ml", {"here/.comet.config": "[comet]\napi_key = abc\n"}, {"COMET_CONFIG": "here"}, True),
    ("comet_ml", {".env": "COMET_API_KEY=abc\n"}, {}, True),
    ("clearml", {"own.conf": 'access_key = "AAA"\n'}, {"CLEARML_CONFIG_FILE": "~/own.conf"}, True),
]


@pytest.mark.parametrize(("name", "files", "environ", "online"), SDKS_FILES)
def test_the_files_of_an_sdk_say_what_its_variables_do(
    name: str,
    files: dict[str, str],
    environ: dict[str, str],
    online: bool | None,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`wandb offline`, `wandb disabled` and `wandb login --host` count; a variable beats the files. None is off."""
    site.install_all()
    monkeypatch.chdir(tmp_path)
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    choice = select(name, environ={"HOME": str(tmp_path), **environ}).chosen.get(name)

    assert (choice.online if choice else None) is online


def test_a_configuration_file_that_cannot_be_read_is_no_credentials(site: Site, tmp_path: Path) -> None:
    """A folder, or bytes that are no text, where a file is expected is treated as nothing."""
    site.install_all()
    (tmp_path / ".netrc").mkdir()
    (tmp_path / ".comet.config").write_bytes(b"\xff\xfe\x00api_key")

    selection = select(["wandb", "comet"], environ={"HOME": str(tmp_path)})

    assert [choice.online for choice in selection.chosen.values()] == [False, False]


def test_online_only_without_credentials_is_an_error_by_name(site: Site, tmp_path: Path) -> None:
    """`offline=False` asks for online: without credentials the message holds the command to log in."""
    site.install_all()

    with pytest.raises(
        TrackerUnavailableError,
        match=r"wandb is not configured, and offline=False asks for online\..*Log in with: wandb login",
    ):
        select("wandb", offline=False, environ={"HOME": str(tmp_path)})
    assert list(select("all", offline=False, environ={"HOME": str(tmp_path)}).chosen) == [
        "tensorboard",
        "aim",
        "system",
    ]


def test_a_local_tracker_gets_the_environment_that_keeps_it_offline(site: Site, tmp_path: Path) -> None:
    """What keeps an SDK off the network is given to its process only when it is to be local."""
    site.install_all()

    local = select("wandb", environ={"HOME": str(tmp_path)}).chosen["wandb"].environment
    online = select("wandb", environ={"HOME": str(tmp_path), **WANDB_KEY}).chosen["wandb"].environment

    assert local["WANDB_MODE"] == "offline"
    assert "WANDB_MODE" not in online
    assert "k" * 40 not in str(online)


class OwnTracker(Tracker):
    name = "own"


def test_a_class_goes_to_a_process_and_an_instance_to_a_thread(site: Site) -> None:
    """A class that a child process can import is delivered to by one; an object stays where it is."""
    instance = MemoryTracker()

    selection = select([OwnTracker, instance], environ={})

    assert selection.chosen["own"].tracker == "tests.autodetect.test_selection:OwnTracker"
    assert selection.objects == {"memory": instance}


def test_a_local_class_stays_in_this_process(site: Site) -> None:
    """A class inside a function cannot be imported by a child process, so it runs in a thread."""

    class Inner(Tracker):
        name = "inner"

    selection = select(Inner, environ={})

    assert selection.chosen == {}
    assert isinstance(selection.objects["inner"], Inner)


def test_a_third_partys_tracker_is_a_name_like_any_other(site: Site) -> None:
    """A tracker that a distribution brings as an entry point works in `report_to` and is listed as valid."""
    site.install(
        "acme-tracker",
        "1.2",
        "acme",
        "[console_scripts]\na = b:c\n\n[runcast.trackers]\nAcme = acme.tracker:AcmeTracker\n[other]\nx = y:z\n",
    )

    assert select("acme", environ={}).chosen["acme"].tracker == "acme.tracker:AcmeTracker"
    assert list(select("all", environ={}).chosen) == ["acme"]
    with pytest.raises(UnknownTrackerError, match=r"Did you mean 'acme'.*tensorboard, .*, acme, all, none"):
        select("acmee", environ={})


def test_metadata_that_are_no_text_stop_nothing(site: Site) -> None:
    """A distribution of somebody else, written in another encoding, takes no part and costs no run."""
    site.install("strange", "1", "strange")
    (site.path / "strange-1.dist-info" / "entry_points.txt").write_bytes(b"[console_scripts]\ngr\xf6\xdfe = a:b\n")

    assert select("all", environ={}).chosen == {}


def test_options_for_an_unknown_tracker_are_an_error(site: Site) -> None:
    """A name in `setup` that no tracker has is a typing mistake."""
    site.install_all()

    with pytest.raises(UnknownTrackerError, match="Did you mean 'wandb'"):
        select("all", setup={"wanbd": {}}, environ={})
    assert select(None, setup={"wandb": {}}, environ={}).chosen == {}


@pytest.mark.parametrize(("word", "name"), [("comet", "comet_ml"), (" MLflow ", "mlflow")])
def test_a_name_has_one_spelling_inside(word: str, name: str, site: Site) -> None:
    """Aliases and cases lead to the table's name."""
    assert canonical_name(word) == name


@pytest.mark.parametrize("address", ["http://[::1", "http://localhost:${PORT}"])
def test_an_address_that_is_none_stops_nothing(address: str, site: Site, tmp_path: Path) -> None:
    """Whoever uses it finds out; a run begins, and `runcast doctor` shows the address as it is."""
    site.install("wandb", "0.31.0", "wandb")
    environ = {"HOME": str(tmp_path), "WANDB_BASE_URL": address}

    assert not select("all", environ=environ).chosen["wandb"].online
    found = examine(tmp_path, environ={**environ, "WANDB_API_KEY": "x"})
    assert {tracker.name: tracker.where for tracker in found.trackers}["wandb"] == address


def test_a_survey_names_every_tracker_with_how_it_would_be_used(site: Site, tmp_path: Path) -> None:
    """What `runcast doctor` shows: for each tracker its version, mode and reason, or its problem and how to mend it."""
    site.install("wandb", "0.31.0", "wandb")

    seen = survey(environ={"HOME": str(tmp_path)})

    assert list(seen) == NAMES
    assert (seen["wandb"].version, seen["wandb"].online, seen["wandb"].reason) == ("0.31.0", False, "no credentials")
    assert (seen["mlflow"].problem, seen["mlflow"].mend) == (
        "is not installed",
        "Install it with: pip install 'runcast[mlflow]'",
    )
