"""One real MLflow server for all tests that need it: starting it takes seconds."""

from collections.abc import Iterator

import pytest

from tests.integrations.driving import MlflowServer


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Run one server, in which each test has runs of its own."""
    running = MlflowServer(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.stop()
