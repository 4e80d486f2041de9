"""Write runs to Azure Machine Learning, which is an MLflow server at an address of its own scheme.

Needs: azureml-mlflow 1.57 or newer, tested with 1.62.0.post6, which needs mlflow-skinny of at most 3.15.0.
Writes: to the workspace in the option `tracking_uri` or MLFLOW_TRACKING_URI (`azureml://…`), which a job at Azure has
    set, and into the job's own run (MLFLOW_RUN_ID), which stays open. Azure's SDK finds the identity: in a job it has
    one; elsewhere log in with `az login` before, or its last resort is a browser. There is no local mode. The address
    of a run is its page in the studio. Under "all", MLflow takes no part at this address. Everything else is as with
    MLflow.
Drops: parameters beyond MAX_PARAMS: the first ones, which are the user's, are kept, the others are counted; all of the
    config is in the artifact config.json. Otherwise as with MLflow.
Limits: MAX_PARAMS, which Azure's answers name (huggingface/transformers 34276), and MLflow's. Azure's own SDK is tried
    as in a job, over TLS to a stand-in before MLflow's server, not at Azure; 2026-11-30.
"""

import re
from collections.abc import Mapping

from runcast.core.errors import FinalError
from runcast.integrations.contract import TrackedRun
from runcast.integrations.mlflow import MlflowTracker
from runcast.values.scalars import ParamValue

MAX_PARAMS = 200
WORKSPACE = re.compile(
    r"azureml://[^/]+?\.?(\w+)(?::\d+)?/.*(/subscriptions/[^/]+/resourceGroups/[^/]+)/.*(/workspaces/[^/?]+)",
    re.IGNORECASE,
)
STUDIOS = {"us": "ml.azure.us", "cn": "studio.ml.azure.cn"}  # of Azure's other clouds


class AzureMlTracker(MlflowTracker):
    """One run of a workspace."""

    name = "azure_ml"
    variables = MlflowTracker.variables

    def setup(self, run: TrackedRun) -> None:
        super().setup(run)
        if found := WORKSPACE.match(self._uri):
            cloud, group, workspace = found.groups()
            run.url = f"https://{STUDIOS.get(cloud, 'ml.azure.com')}/runs/{self._run_id}?wsid={group}{workspace}"
        self._known = set(self._client.get_run(self._run_id).data.params)

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        room = MAX_PARAMS - len(self._known)
        more = [key for key in params if key not in self._known][max(0, room) :]
        held = {key: value for key, value in params.items() if key not in set(more)}
        super().log_params(held)
        self._known |= held.keys()
        if more:
            raise FinalError(f"Azure ML holds {MAX_PARAMS} parameters; all of them are in config.json.", more)
