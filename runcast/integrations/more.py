"""The rows of the trackers of the second rank: see `table.py`. Their SDKs are in `runcast[more]`."""

from runcast.integrations.row import Address, Archive, Ended, Inside, Integration, TextFile, Variables

MLFLOW_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}

MLFLOW_IMPORTS = ("numpy", "pydantic", "google.protobuf", "requests", "yaml")
MLFLOW_UNUSED = ("pandas", "pyarrow", "scipy")

MORE = (
    Integration(
        name="swanlab",
        title="SwanLab",
        tracker="runcast.integrations.swanlab:SwanlabTracker",
        distribution="swanlab",
        package="swanlab",
        needs=(
            *("orjson", "protobuf:google.protobuf", "pydantic", "pydantic-settings", "pyecharts", "pyroaring"),
            *("pyyaml:yaml", "requests", "rich", "urllib3", "watchdog"),
        ),
        imports=("pydantic", "google.protobuf", "requests", "yaml"),
        minimum="0.10",
        tested="0.10.3",
        writes_at="SWANLAB_LOG_DIR",
        open_command="swanlab sync --id {id} {folder}/run-*-{id}",
        keeps=("run-*.swanlab",),
        folder="swanlog",
        credentials=(
            Variables(("SWANLAB_API_KEY",)),
            TextFile("~/.swanlab/.netrc", r"\bpassword\s+\S"),
            TextFile(".swanlab/.netrc", r"\bpassword\s+\S"),
        ),
        off={"SWANLAB_MODE": ("disabled",)},
        offline={"SWANLAB_MODE": ("offline", "local")},
        switches={"mode": "SWANLAB_MODE"},
        environment={"SWANLAB_INTERACTIVE": "false"},
        log_in="swanlab login",
        options=(
            *("mode", "log_dir", "workspace", "project", "public", "name", "color", "notes", "job_type", "group"),
            *("tags", "id", "resume", "settings"),
        ),
        extra="more",
    ),
    Integration(
        name="trackio",
        title="Trackio",
        tracker="runcast.integrations.trackio:TrackioTracker",
        distribution="trackio",
        package="trackio",
        needs=("gradio-client", "httpx", "huggingface-hub", "numpy", "orjson", "pillow:PIL", "starlette", "uvicorn"),
        imports=("numpy",),
        minimum="0.43",
        tested="0.43.0",
        writes_at="TRACKIO_DIR",
        open_command="env TRACKIO_DIR={folder} trackio show --project {project}",
        keeps=("*.db:configs",),
        page_command="env TRACKIO_DIR={folder} trackio show --project {project}",
        folder="../../../trackio",
        writes="{runs}/trackio",
        credentials=(
            Address("TRACKIO_SERVER_URL", r"https?://", "server_url"),
            Address("TRACKIO_SPACE_ID", r"[\w.-]+/[\w.-]+\Z", "space_id"),
        ),
        environment={"HF_HUB_DISABLE_TELEMETRY": "1"},
        log_in="export TRACKIO_SERVER_URL=http://your-server:7860 TRACKIO_WRITE_TOKEN=…",
        options=("project", "name", "group", "dir", "space_id", "server_url", "write_token", "bucket_id", "private"),
        extra="more",
    ),
    Integration(
        name="dagshub",
        title="DagsHub",
        tracker="runcast.integrations.dagshub:DagshubTracker",
        over="mlflow",
        imports=MLFLOW_IMPORTS,
        unused=MLFLOW_UNUSED,
        distribution="mlflow",
        alternatives=("mlflow-skinny",),
        package="mlflow",
        needs=("requests", "sqlparse", "typing-extensions"),
        minimum="2.14",
        tested="3.17.2",
        open_command="",
        credentials=(
            Address("MLFLOW_TRACKING_URI", r"https?://\S+\.mlflow/?\Z", "tracking_uri"),
            Address("DAGSHUB_REPO", r"[\w.-]+/[\w.-]+\Z", "repo"),
        ),
        environment=MLFLOW_QUIET,
        log_in="export DAGSHUB_REPO=owner/name DAGSHUB_USER_TOKEN=…",
        local=False,
        options=(
            *("repo", "host", "user", "token", "tracking_uri", "experiment_name", "experiment_id", "run_name"),
            *("run_id", "parent_run_id", "project", "tags", "dvc", "branch"),
        ),
        extra="more",
    ),
    Integration(
        name="azure_ml",
        title="Azure ML",
        aliases=("azureml",),
        tracker="runcast.integrations.azure_ml:AzureMlTracker",
        over="mlflow",
        imports=MLFLOW_IMPORTS,
        unused=MLFLOW_UNUSED,
        distribution="azureml-mlflow",
        package="azureml",
        needs=("azure-core:azure.core", "azure-identity:azure.identity", "mlflow-skinny:mlflow", "msrest"),
        minimum="1.57",
        tested="1.62.0.post6",
        open_command="",
        credentials=(Address("MLFLOW_TRACKING_URI", r"azureml://", "tracking_uri"),),
        environment=MLFLOW_QUIET,
        log_in="az login, and: export MLFLOW_TRACKING_URI=azureml://…",
        local=False,
        options=(
            *("tracking_uri", "experiment_name", "experiment_id", "run_name", "run_id", "parent_run_id", "keep_open"),
            *("project", "tags"),
        ),
        extra="apart",
    ),
    Integration(
        name="flyte",
        title="Flyte",
        tracker="runcast.integrations.flyte:FlyteTracker",
        distribution="flytekit",
        package="flytekit",
        needs=("flyteidl", "fsspec", "grpcio:grpc", "marshmallow", "mashumaro", "protobuf:google.protobuf", "rich"),
        imports=("google.protobuf", "yaml"),
        minimum="1.13",
        tested="1.16.31",
        open_command="",
        credentials=(
            Inside("flyte", "a task of Flyte", "Open the run in a function that has @flytekit.task(enable_deck=True)."),
        ),
        local=False,
        options=("checkpoint", "files", "page"),
        extra="more",
    ),
    Integration(
        name="aim",
        title="Aim",
        tracker="runcast.integrations.aim:AimTracker",
        distribution="aim",
        package="aim",
        needs=(
            *("aimrecords", "aimrocks", "alembic", "cachetools", "filelock", "numpy", "pillow:PIL", "psutil"),
            *("python-dateutil:dateutil", "pytz", "sqlalchemy"),
        ),
        imports=("numpy", "requests"),
        below="3.13",
        minimum="3.29",
        tested="3.29.1",
        open_command="aim up --repo {folder}",
        page_command="aim up --repo {folder} --port {port}",
        folder="../../../aim",
        writes="{runs}/aim",
        options=("repo", "experiment"),
        extra="more",
    ),
)

ENDED = {row.name: row for row in (Ended("neptune", "Neptune", "neptune", "2026-03-05"),)}
ARCHIVES = {
    row.name: row
    for row in (
        Archive(
            name="files",
            title="plain files",
            tracker="runcast.integrations.plain_files:PlainFiles",
            keeps=("metrics.csv", "results.csv", "metrics.jsonl", "log.jsonl", "trainer_state.json"),
        ),
        Archive(
            name="neptune",
            title="Neptune's export",
            tracker="runcast.integrations.neptune_export:NeptuneExport",
            keeps=("*_part_*.parquet",),
        ),
    )
}
TABLES, LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")  # plain files that are read under any name, if it is given
