"""Write runs to DagsHub, which keeps an MLflow server for each of its repositories.

Needs: mlflow 2.14 or newer, tested with 3.17.2; mlflow-skinny is enough. DagsHub's own package is needed for DVC only,
    tested with 0.7.3: `pip install 'runcast[dagshub-dvc]'`.
Writes: to the server of a repository, named by the option `repo` or DAGSHUB_REPO ("owner/name") at DAGSHUB_CLIENT_HOST,
    or by MLFLOW_TRACKING_URI; with the user DAGSHUB_USERNAME (else the owner) and the token DAGSHUB_USER_TOKEN, or with
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. There is no local mode, and nothing asks for a log-in. Under
    "all", MLflow takes no part where its address is DagsHub's: the runs would be there twice. Files are artifacts of
    the MLflow run. With the option `dvc=True`, or HF_DAGSHUB_LOG_ARTIFACTS=true as in transformers, they are also
    committed to the repository under DVC, in `artifacts/<run id>` of `branch` (BRANCH, else main); in transformers
    HF_DAGSHUB_MODEL_NAME changes nothing, and neither does it here. Everything else is as with MLflow.
Drops: as with MLflow.
Limits: those of MLflow. Tried against MLflow's own server behind a password and a stand-in for DagsHub's files, not
    against DagsHub; 2026-11-30.
"""

from urllib.parse import quote, urlsplit

from runcast.core.errors import FinalError, RetryableError
from runcast.integrations.contract import ArtifactFile, Reading, TrackedRun
from runcast.integrations.mlflow import MlflowTracker
from runcast.values.scalars import TRUE

HOST = "https://dagshub.com"
VARIABLES = {
    "repo": "DAGSHUB_REPO",
    "host": "DAGSHUB_CLIENT_HOST",
    "user": "DAGSHUB_USERNAME",
    "token": "DAGSHUB_USER_TOKEN",
    "dvc": "HF_DAGSHUB_LOG_ARTIFACTS",
    "branch": "BRANCH",
    "password": "MLFLOW_TRACKING_PASSWORD",
}


class DagshubTracker(MlflowTracker):
    """One run at the MLflow server of a repository."""

    name = "dagshub"
    variables = MlflowTracker.variables | VARIABLES

    def setup(self, run: TrackedRun) -> None:
        super().setup(_addressed(run))

    def log_artifact(self, artifact: ArtifactFile) -> None:
        super().log_artifact(artifact)
        if str(self._tracked.setting("dvc")).lower() in TRUE:
            _commit(self._tracked, artifact)

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


def _commit(run: TrackedRun, artifact: ArtifactFile) -> None:
    """Commit a file or a folder to the run's repository, as DVC's, with DagsHub's own package."""
    try:
        from dagshub.common import config
        from dagshub.upload import Repo
        from httpx import TransportError
    except ImportError as error:
        how = "Install it with: pip install 'runcast[dagshub-dvc]'"
        raise FinalError(f"{artifact.name} is in MLflow only: DVC needs DagsHub's package. {how}") from error
    address = urlsplit(str(run.setting("tracking_uri")))
    owner, _, name = address.path.strip("/").removesuffix(".mlflow").partition("/")
    config.set_host(f"{address.scheme}://{address.netloc.rpartition('@')[2]}")
    token = str(run.setting("token") or run.setting("password") or "")
    if not token:  # DagsHub's package would ask for a log-in
        raise FinalError(f"{artifact.name} is in MLflow only: DVC needs a token, as in DAGSHUB_USER_TOKEN.")
    try:
        repo = Repo(owner, name, token=token, branch=str(run.setting("branch") or "main"))
        place = f"artifacts/{run.id}/{artifact.name}"
        repo.upload(artifact.path, f"{artifact.name} of {run.name}", place, versioning="dvc")
    except TransportError as error:
        raise RetryableError(f"DagsHub: {error}") from error
