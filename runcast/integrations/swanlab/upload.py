"""The upload of a run file as it grows, with SwanLab's own sender, also of what earlier processes could not send.

SwanLab takes a point, a column or a file again without making another one of it: each is known by its key and step.
Seen in swanlab 0.10.3, 2026-11-30.
"""

import time
from pathlib import Path
from typing import Any

from swanlab.exceptions import ApiError
from swanlab.proto.swanlab.run.v1.run_pb2 import FinishRecord, StartRecord
from swanlab.sdk.internal.core_python import client
from swanlab.sdk.internal.core_python.api.experiment import stop_experiment
from swanlab.sdk.internal.core_python.context import CoreContext
from swanlab.sdk.internal.core_python.heartbeat import Heartbeat
from swanlab.sdk.internal.core_python.transport import Transport
from swanlab.sdk.internal.core_python.utils import generate_run_online_path, prepare_experiment_start
from swanlab.sdk.internal.pkg.client import session
from swanlab.sdk.internal.pkg.helper import fmt_run_path

from runcast.core.errors import FinalError, GoneError, RestartError, RetryableError
from runcast.integrations.swanlab.reader import scan

DRAIN_S = 60
TIMEOUT_S = 20


def log_in(settings: Any) -> None:
    """Make the SDK's client, which all requests use; it is the script's own where a delivery is a thread of that."""
    if client.exists():
        return
    # The client says of a server that cannot be reached, after fifteen seconds, that the key is wrong.
    with session.create(timeout=TIMEOUT_S, default_retry=0) as once:
        once.post(f"{settings.api_host}/api/login/api_key", headers={"authorization": settings.api_key or ""})
    client.new(settings.api_key, settings.api_host)


class Upload:
    """One experiment at SwanLab, to which records are sent in the background."""

    def __init__(self, start: StartRecord, context: CoreContext, settings: Any) -> None:
        log_in(settings)
        found = prepare_experiment_start(start)
        self._experiment = (found.username, found.project, found.experiment["cuid"])
        context.set_online_params(
            username=found.username,
            project=found.project,
            project_id=found.project_data["cuid"],
            project_version=found.project_data.get("version"),
            experiment_id=found.experiment["cuid"],
        )
        path = generate_run_online_path(found)
        self.url = f"{settings.web_host}{fmt_run_path(path)}"
        self._transport, self._heartbeat = Transport(context), Heartbeat(found.experiment["cuid"])
        self._refused: list[str] = []
        self._dispatch, self._transport._dispatcher = self._transport._dispatcher, self._send
        self._heartbeat.start()

    @property
    def path(self) -> str:
        """The address of the experiment in SwanLab's interface for programs."""
        return "/project/{}/{}/runs/{}".format(*self._experiment)

    def put_rest(self, file: Path, sent: int) -> None:
        """Send the records of a file after the offset up to which the server has everything."""
        self.put([record for record, end in scan(file) if end > sent and not record.HasField("start")])

    def put(self, records: list[Any]) -> None:
        """Send records, in the background."""
        self._transport.put(records)

    @property
    def has_sent_all(self) -> bool:
        """Whether the server has everything."""
        return not self._transport.pending_records()

    def check(self) -> None:
        """Ask for the experiment if something was refused.

        Raises:
            GoneError: It was deleted.
        """
        if self._refused and is_deleted(self.path):
            self._heartbeat.stop()
            raise GoneError(f"SwanLab no longer has the run: {self._refused[-1]}")

    def drain(self) -> None:
        """Wait until the server has everything.

        Raises:
            RetryableError: It has not.
        """
        deadline = time.monotonic() + DRAIN_S
        while not self.has_sent_all:
            if time.monotonic() > deadline:
                raise RetryableError(f"SwanLab has not taken everything within {DRAIN_S} s.")
            time.sleep(0.05)

    def finish(self, end: FinishRecord) -> None:
        """Wait until everything is sent, and end the experiment."""
        if not self._transport.finish(DRAIN_S):
            raise RestartError(f"SwanLab: {self._transport.finish_summary()}")
        self.check()
        self._heartbeat.stop()
        stop_experiment(*self._experiment, state=end.state, finished_at=end.finished_at)
        if self._refused:
            raise FinalError(f"SwanLab refused {len(self._refused)} requests: {self._refused[-1]}")

    def _send(self, records: list[Any]) -> Any:
        result = self._dispatch(records)
        retried = {record.num for record in result.remaining_records}
        refused = [failure for failure in result.failures if not retried & {each.num for each in failure.records}]
        self._refused += [failure.message for failure in refused]
        return result


def is_deleted(path: str) -> bool:
    """Ask whether an experiment is no longer there."""
    try:
        client.get(path, log_error=False)
    except ApiError as error:
        if error.response is None or error.response.status_code != 404:
            raise
        return True
    return False
