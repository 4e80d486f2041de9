"""Write runs to DagsHub, which keeps an MLflow server for each of its repositories.

Needs: mlflow 2.14 or newer, tested with 3.17.2; mlflow-skinny is enough. DagsHub's own package is not needed.
Writes: to the server of a repository, named by the option `repo` or DAGSHUB_REPO ("owner/name") at DAGSHUB_CLIENT_HOST,
    or by MLFLOW_TRACKING_URI; with the user DAGSHUB_USERNAME (else the owner) and the token DAGSHUB_USER_TOKEN, or with
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. There is no local mode, and nothing asks for a log-in. Under
    "all", MLflow takes no part where its address is DagsHub's: the runs would be there twice. Files are artifacts of
    the MLflow run; DVC is not used. Everything else is as with MLflow.
Drops: as with MLflow.
Limits: those of MLflow. Tried against MLflow's own server behind a password, not against DagsHub; 2026-11-30.
"""

from urllib.parse import quote, urlsplit

from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.mlflow import MlflowTracker

HOST = "https://dagshub.com"
VARIABLES = {
    "repo": "DAGSHUB_REPO",
    "host": "DAGSHUB_CLIENT_HOST",
    "user": "DAGSHUB_USERNAME",
    "token": "DAGSHUB_USER_TOKEN",
}


class DagshubTracker(MlflowTracker):
    """One run at the MLflow server of a repository."""

    name = "dagshub"
    variables = MlflowTracker.variables | VARIABLES

    def setup(self, run: TrackedRun) -> None:
        super().setup(_addressed(run))

    def exists(self, run: TrackedRun) -> bool | None:
        return super().exists(_addressed(run))

    def read(self, run: TrackedRun) -> Reading:
        return super().read(_addressed(run))


def _addressed(run: TrackedRun) -> TrackedRun:
    """Give a run the address of its repository's server, with the user's name and token."""
    repo, host = run.setting("repo"), str(run.setting("host") or HOST).rstrip("/")
    wanted = run.options.get("tracking_uri") or (f"{host}/{repo}.mlflow" if repo else run.setting("tracking_uri"))
    address, token = urlsplit(str(wanted or "")), run.setting("token")
    if address.netloc and token and "@" not in address.netloc:
        user = run.setting("user") or address.path.strip("/").partition("/")[0]
        secret = f"{quote(str(user), safe='')}:{quote(str(token), safe='')}"
        wanted = address._replace(netloc=f"{secret}@{address.netloc}").geturl()
    if wanted:
        run.options = {**run.options, "tracking_uri": wanted}
    return run
