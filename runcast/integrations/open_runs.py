"""The runs that a script has opened with a tracker's own SDK, found without importing any SDK.

Only an SDK that the script has imported can have one, so each is looked up in `sys.modules`. DVCLive, TensorBoard and
CodeCarbon know no current run.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

log = logging.getLogger(__name__)


class OpenRun(NamedTuple):
    """A run that the script has open.

    `id` is the service's own and `name` what people call it. `options` let a delivery in another process write into it;
    they are empty where the service or its SDK does not allow that. `apart` keeps a delivery in another process from
    opening it by accident, as two processes would overwrite each other's points there. Whoever sets an option of
    `chosen_by` has chosen a run or a place already. `attach` is there where the SDK runs the script, and the run
    is one of ours: called once, it returns the options for it.
    """

    id: str
    name: str
    options: Mapping[str, Any] = {}
    apart: Mapping[str, Any] = {}
    chosen_by: frozenset[str] = frozenset()
    attach: Callable[[], Mapping[str, Any]] | None = None


def find_open_run(tracker: str) -> OpenRun | None:
    """Return the run that this script has open in a tracker, if there is one."""
    package, find = _FINDERS.get(tracker, ("", None))
    sdk = sys.modules.get(package)
    if find is None or sdk is None:
        return None
    try:
        return find(sdk)
    except Exception as error:  # noqa: BLE001 - an SDK that is half imported, or too old to answer
        log.debug("%s does not say whether a run is open: %r", package, error)
        return None


def absolute_uri(uri: str) -> str:
    """Return an MLflow address that means the same in every working directory."""
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{os.path.abspath(uri.removeprefix('sqlite:///'))}"
    if uri.startswith("file:") and not uri.startswith("file:/"):
        return f"file:{os.path.abspath(uri.removeprefix('file:'))}"
    is_path = uri and ":" not in uri and not uri.startswith("databricks")
    return os.path.abspath(uri) if is_path else uri


def _find_mlflow(sdk: Any) -> OpenRun | None:
    run = sdk.active_run()
    if run is None:
        return None
    run_id, uri = run.info.run_id, absolute_uri(sdk.get_tracking_uri())
    return OpenRun(
        id=run_id,
        name=run.info.run_name or run_id,
        options={"tracking_uri": uri, "run_id": run_id, "keep_open": True},
        chosen_by=frozenset(("experiment_id", "experiment_name", "parent_run_id", "run_id", "tracking_uri")),
    )


def _find_wandb(sdk: Any) -> OpenRun | None:
    run = sdk.run
    if run is None or run.disabled:
        return None
    is_inherited = os.environ.get("WANDB_RUN_ID") == run.id
    apart = {"id": f"{run.id}-{os.urandom(3).hex()}"} if is_inherited else {}
    return OpenRun(id=run.id, name=run.name or run.id, apart=apart, chosen_by=frozenset(("id",)))


def _find_comet(sdk: Any) -> OpenRun | None:
    experiment = sdk.get_running_experiment()
    if experiment is None or not experiment.alive:
        return None
    key = experiment.get_key()
    apart = {"experiment_key": os.urandom(16).hex()} if os.environ.get("COMET_EXPERIMENT_KEY") == key else {}
    return OpenRun(id=key, name=experiment.name or key, apart=apart, chosen_by=frozenset(("experiment_key",)))


def _find_clearml(sdk: Any) -> OpenRun | None:
    task = sdk.Task.current_task()
    if task is None:
        return None
    options = {} if task.id.startswith("offline-") else {"task_id": task.id}
    return OpenRun(id=task.id, name=task.name or task.id, options=options, chosen_by=frozenset(("task_id",)))


def _find_flyte(sdk: Any) -> OpenRun | None:
    context = sdk.current_context()
    try:
        assert context.checkpoint is not None
    except NotImplementedError:  # outside of a task
        return None

    def attach() -> Mapping[str, Any]:
        from runcast.integrations.flyte.deck import add_deck  # it imports flytekit, as the script has

        return add_deck(context)

    return OpenRun(id=context.execution_id.name, name=context.task_id.name, attach=attach)


_FINDERS: Mapping[str, tuple[str, Callable[[Any], OpenRun | None]]] = {
    "mlflow": ("mlflow", _find_mlflow),
    "wandb": ("wandb", _find_wandb),
    "comet_ml": ("comet_ml", _find_comet),
    "clearml": ("clearml", _find_clearml),
    "flyte": ("flytekit", _find_flyte),
}
