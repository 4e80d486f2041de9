"""THE table: one row for each tracker. Everything else that names a tracker is derived from it.

A row is data, so that autodetection reads it without importing any SDK. `environment` is set in the tracker's own
delivery process, before its SDK is imported, unless the user has set the variable: it keeps the SDK quiet, bounded in
time, and off the other trackers. `more.py` has the rows of the second rank.
"""

from collections.abc import Mapping
from types import MappingProxyType

from runcast.integrations.more import ARCHIVES, ENDED, MLFLOW_IMPORTS, MLFLOW_QUIET, MLFLOW_UNUSED, MORE
from runcast.integrations.row import Address, Credentials, Ended, Inside, Integration, Netrc, TextFile, Variables
from runcast.values.scalars import FALSE, TRUE

API_KEY = r"^\s*api_key\s*=\s*\S"
# As `wandb offline`, `wandb disabled` and `wandb login --host` write them.
WANDB_SETTING = r"^\s*(?:mode\s*[=:]\s*(?P<WANDB_MODE>\S+)|base_url\s*[=:]\s*(?P<WANDB_BASE_URL>\S+))"

_FIRST = (
    Integration(
        name="wandb",
        title="Weights & Biases",
        tracker="runcast.integrations.wandb:WandbTracker",
        distribution="wandb",
        package="wandb",
        needs=(
            *("click", "opentelemetry-api:opentelemetry", "opentelemetry-sdk:opentelemetry", "packaging"),
            *("platformdirs", "protobuf:google.protobuf", "pydantic", "typing-extensions", "xxhash"),
        ),
        parts=("bin/wandb-core",),
        imports=("numpy", "pydantic", "google.protobuf", "yaml"),
        minimum="0.22",
        tested="0.31.0",
        writes_at="WANDB_DIR",
        open_command="wandb sync {folder}/offline-run-*/run-{id}.wandb",
        page_command="wandb leet run {url}",
        keeps=("run-*.wandb",),
        folder="wandb",
        credentials=(
            Variables(("WANDB_API_KEY",)),
            Variables(("WANDB_IDENTITY_TOKEN_FILE",)),
            Netrc("api.wandb.ai", "WANDB_BASE_URL"),
        ),
        off={"WANDB_MODE": ("disabled",), "WANDB_DISABLED": TRUE},
        offline={"WANDB_MODE": ("offline", "dryrun")},
        switches={"mode": "WANDB_MODE"},
        settings=(
            TextFile("~/.config/wandb/settings", WANDB_SETTING, "WANDB_CONFIG_DIR"),
            TextFile("wandb/settings", WANDB_SETTING),
        ),
        environment={"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"},
        offline_environment={"WANDB_MODE": "offline"},
        log_in="wandb login",
        options=(
            *("entity", "job_type", "mode", "dir", "id", "resume", "settings", "config"),
            "wandb.sdk.wandb_init:init",
        ),
    ),
    Integration(
        name="mlflow",
        title="MLflow",
        tracker="runcast.integrations.mlflow:MlflowTracker",
        distribution="mlflow",
        alternatives=("mlflow-skinny",),
        package="mlflow",
        needs=(
            *("cachetools", "click", "databricks-sdk:databricks.sdk", "fastapi", "importlib-metadata", "packaging"),
            *("opentelemetry-api:opentelemetry", "opentelemetry-sdk:opentelemetry", "protobuf:google.protobuf"),
            *("pydantic", "pyyaml:yaml", "requests", "sqlparse", "typing-extensions"),
        ),
        local_needs=("sqlalchemy", "alembic"),
        keeps=("*.db:experiments", "*.sqlite*:experiments", "*/*/meta.yaml"),
        imports=MLFLOW_IMPORTS,
        unused=MLFLOW_UNUSED,
        minimum="2.14",
        tested="3.17.2",
        writes_at="MLFLOW_TRACKING_URI",
        open_command="mlflow ui --backend-store-uri {url}",
        page_command="mlflow ui --backend-store-uri {url} --port {port}",
        writes="{runs}/mlflow.db",
        credentials=(Address("MLFLOW_TRACKING_URI", r"https?://|databricks|azureml://", "tracking_uri"),),
        off={"DISABLE_MLFLOW_INTEGRATION": TRUE},
        environment=MLFLOW_QUIET,
        log_in="export MLFLOW_TRACKING_URI=http://your-server:5000",
        options=(
            *("tracking_uri", "experiment_name", "experiment_id", "run_name", "run_id", "parent_run_id", "keep_open"),
            *("project", "tags"),
        ),
    ),
    Integration(
        name="comet_ml",
        title="Comet",
        aliases=("comet",),
        tracker="runcast.integrations.comet_ml:CometTracker",
        distribution="comet-ml",
        package="comet_ml",
        needs=(
            *("everett", "jsonschema", "psutil", "python-box:box", "requests", "requests-toolbelt", "semantic-version"),
            *("sentry-sdk", "urllib3", "wrapt"),
        ),
        imports=("numpy", "requests", "yaml"),
        unused=("matplotlib",),
        minimum="3.43.2",
        tested="3.58.8",
        writes_at="COMET_OFFLINE_DIRECTORY",
        open_command="(cd {folder} && comet upload $(ls -tr {key}*.zip))",
        credentials=(
            Variables(("COMET_API_KEY",)),
            TextFile("~/.comet.config", API_KEY),
            TextFile(".comet.config", API_KEY, "COMET_CONFIG"),
            TextFile(".env", r"^\s*COMET_API_KEY\s*=\s*\S"),
        ),
        off={"COMET_MODE": ("disabled",)},
        offline={"COMET_MODE": ("offline",), "COMET_START_ONLINE": FALSE, "COMET_OFFLINE": TRUE},
        switches={"online": "COMET_START_ONLINE", "api_key": "COMET_API_KEY"},
        environment={
            "COMET_DISABLE_AUTO_LOGGING": "1",
            "COMET_AUTO_LOG_CO2": "0",
            "COMET_AUTO_LOG_ENV_HOST": "0",
            "COMET_AUTO_LOG_ENV_DETAILS": "0",
            "COMET_ERROR_TRACKING_ENABLE": "0",
            "COMET_DISABLE_ANNOUNCEMENT": "1",
            "COMET_LOGGING_CONSOLE": "error",
            "COMET_FALLBACK_STREAMER_KEEP_OFFLINE_ZIP": "1",
            "COMET_GET_OR_ADD_EXPERIMENT_RETRY_TOTAL": "0",
            "COMET_GET_OR_ADD_EXPERIMENT_RETRY_CONNECT": "0",
            "COMET_GET_OR_ADD_EXPERIMENT_RETRY_READ": "0",
        },
        log_in="comet login",
        options=(
            *("workspace", "api_key", "mode", "online", "project_name", "project", "name", "tags"),
            "comet_ml.comet_start.comet_start:start",
            "comet_ml.comet_start.experiment_config:ExperimentConfig",
        ),
    ),
    Integration(
        name="clearml",
        title="ClearML",
        tracker="runcast.integrations.clearml:ClearmlTracker",
        distribution="clearml",
        package="clearml",
        needs=(
            *("attrs:attr", "furl", "jsonschema", "numpy", "pathlib2", "pillow:PIL", "psutil", "pyjwt:jwt"),
            *("pyparsing", "python-dateutil:dateutil", "pyyaml:yaml", "referencing", "requests", "six", "urllib3"),
        ),
        imports=("numpy", "requests", "yaml"),
        unused=("hydra", "jsonargparse", "matplotlib", "omegaconf", "pandas", "pyarrow"),
        minimum="1.14",
        tested="2.1.12",
        writes_at="CLEARML_CACHE_DIR",
        open_command="clearml-task --import-offline-session {url}",
        credentials=(
            Variables(("CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY")),
            Variables(("CLEARML_AUTH_TOKEN",)),
            TextFile("~/clearml.conf", r"""^[^#]*["']?access_key["']?\s*[:=]\s*["']?\w""", "CLEARML_CONFIG_FILE"),
        ),
        offline={"CLEARML_OFFLINE_MODE": TRUE, "TRAINS_OFFLINE_MODE": TRUE},
        environment={"CLEARML_LOG_LEVEL": "ERROR"},
        offline_environment={"CLEARML_OFFLINE_MODE": "1"},
        log_in="clearml-init",
        options=("project_name", "task_name", "task_id", "output_uri", "project", "name"),
    ),
    Integration(
        name="dvclive",
        title="DVCLive",
        tracker="runcast.integrations.dvclive:DvcliveTracker",
        distribution="dvclive",
        package="dvclive",
        needs=("dvc", "dvc-render", "dvc-studio-client", "funcy", "psutil", "ruamel-yaml:ruamel.yaml"),
        imports=("numpy", "requests"),
        unused=("pandas",),
        minimum="3.41",
        tested="3.49.1",
        open_command="cat {url}/metrics.json",
        keeps=("plots/metrics/*.tsv",),
        credentials=(
            Variables(("DVC_STUDIO_TOKEN",)),
            Variables(("STUDIO_TOKEN",)),
            TextFile("~/.config/dvc/config", r"^\s*token\s*=\s*\S"),
            TextFile(".dvc/config.local", r"^\s*token\s*=\s*\S"),
        ),
        offline={"DVC_STUDIO_OFFLINE": TRUE},
        environment={"DVC_NO_ANALYTICS": "1"},
        offline_environment={"DVC_STUDIO_OFFLINE": "true"},
        log_in="dvc studio login",
        options=("dir", "report", "dvclive.live:Live"),
    ),
    Integration(
        name="codecarbon",
        title="CodeCarbon",
        tracker="runcast.integrations.codecarbon:CodecarbonTracker",
        distribution="codecarbon",
        package="codecarbon",
        needs=("pandas", "psutil", "rapidfuzz"),
        imports=("numpy", "requests"),
        unused=("pyarrow", "scipy"),
        minimum="3.0",
        tested="3.3.2",
        writes_at="CODECARBON_OUTPUT_DIR",
        open_command="cat {url}",
        credentials=(
            Variables(("CODECARBON_API_KEY",)),
            TextFile("~/.codecarbon.config", API_KEY),
            TextFile(".codecarbon.config", API_KEY),
        ),
        switches={"api_key": "CODECARBON_API_KEY"},
        log_in="codecarbon login",
        measures=True,
        options=(
            *("online", "measure_power_secs", "country_iso_code"),
            "codecarbon.emissions_tracker:BaseEmissionsTracker",
            "codecarbon.emissions_tracker:OfflineEmissionsTracker",
        ),
    ),
    Integration(
        name="tensorboard",
        title="TensorBoard",
        tracker="runcast.integrations.tensorboard:TensorboardTracker",
        distribution="tensorboard",
        package="tensorboard",
        needs=("absl-py:absl", "numpy", "protobuf:google.protobuf"),
        imports=("numpy", "google.protobuf"),
        minimum="2.15",
        tested="2.21.0",
        writes_at="TENSORBOARD_LOGGING_DIR",
        open_command="tensorboard --logdir_spec {name}:{url}",
        page_command="tensorboard --logdir {named} --port {port}",
        keeps=("*tfevents*",),
        options=("log_dir", "max_queue", "flush_secs", "filename_suffix", "comment", "purge_step"),
    ),
)

_SYSTEM = Integration(
    name="system",
    title="System metrics",
    tracker="runcast.integrations.system:SystemTracker",
    distribution="psutil",
    package="psutil",
    minimum="5.9",
    tested="7.2.2",
    open_command="runcast show {directory} --all",
    writes="{runs}/*/journal.jsonl",
    off={"RUNCAST_SYSTEM_METRICS": FALSE},
    measures=True,
    options=("every_s",),
)

_ROWS = sorted(
    (*_FIRST, *MORE, _SYSTEM), key=lambda row: row.measures
)  # meters are listed after the trackers everywhere
TABLE: Mapping[str, Integration] = MappingProxyType({row.name: row for row in _ROWS})
METERS = tuple(f"{row.name}/" for row in _ROWS if row.measures)  # the beginnings of the names of their metrics
ALIASES: Mapping[str, str] = MappingProxyType({alias: row.name for row in TABLE.values() for alias in row.aliases})


def is_at_server(name: str, url: str | None) -> bool:
    """Return whether a run is at a server of the tracker *name*, which takes credentials: there it stays."""
    row = TABLE.get(name)
    return row is not None and bool(row.credentials) and (url or "").startswith(("http://", "https://"))


def row_named(word: str) -> Integration | None:
    """Return the row that a user's word means, a name or an alias in any case; None if there is none."""
    word = word.strip().lower()
    return TABLE.get(ALIASES.get(word, word))


__all__ = [
    "ALIASES",
    "ARCHIVES",
    "ENDED",
    "METERS",
    "TABLE",
    "Address",
    "Credentials",
    "Ended",
    "Inside",
    "Integration",
    "Netrc",
    "TextFile",
    "Variables",
    "row_named",
]
