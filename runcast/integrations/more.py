"""The rows of the trackers of the second rank: see `table.py`. Their SDKs are in `runcast[more]`."""

from runcast.integrations.row import Address, Ended, Integration, TextFile, Variables

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
        open_command="swanlab sync --id {id} {folder}/run-*-{id}",
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
        open_command="env TRACKIO_DIR={folder} trackio show --project {project}",
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
)

ENDED = {row.name: row for row in (Ended("neptune", "Neptune", "neptune", "2026-03-05"),)}
