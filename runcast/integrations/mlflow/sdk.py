"""Understand what MLflow raises, and how long a server wants to be left alone. Read in mlflow 3.17.2, 2026-11-20."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils import request_utils
from urllib3.exceptions import MaxRetryError

from runcast.core.errors import FinalError, GoneError, RetryableError, TrackerError

SERVER = re.compile(r"https?:|databricks|azureml:")
NOT_IMPLEMENTED = 501  # of a server that keeps no files, for one
DELETED = re.compile(r"The run \S+ must be in the 'active' state")


class Client(MlflowClient):  # type: ignore[misc]
    """A client whose calls return when the store has what they log, whatever MLFLOW_ENABLE_ASYNC_LOGGING says."""

    def log_batch(self, run_id: str, *values: Any, **named: Any) -> Any:
        """Log metrics, params and tags."""
        return super().log_batch(run_id, *values[:3], **{**named, "synchronous": True})

    def set_tag(self, run_id: str, key: str, value: Any, *_: Any, **__: Any) -> Any:
        """Set a tag; MLflow's own methods pass `synchronous` by position."""
        return super().set_tag(run_id, key, value, synchronous=True)

    def log_image(self, run_id: str, image: Any, **named: Any) -> Any:
        """Log an image."""
        return super().log_image(run_id, image, **{**named, "synchronous": True})


def meaning(error: Exception, uri: str) -> TrackerError | None:
    """Explain an exception: MLflow calls a refused connection an internal error; without a server it is one."""
    message = public(str(error))
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        is_server = status >= 500 and status != NOT_IMPLEMENTED and SERVER.match(uri)
        if status in (408, 429, 503, 504) or is_server:
            return RetryableError(message, retry_after_s(error))
        is_gone = error.error_code == "RESOURCE_DOES_NOT_EXIST" or DELETED.search(message)
        return GoneError(message) if is_gone else FinalError(message)
    if isinstance(error, sqlite3.Error):
        kind = RetryableError if isinstance(error, sqlite3.OperationalError) else FinalError
        return kind(f"{public(uri)}: {message}")
    status = getattr(getattr(error, "response", None), "status_code", 0)  # of an upload
    if 400 <= status < 500 or status == NOT_IMPLEMENTED or isinstance(error, ValueError | OverflowError):
        return FinalError(message)  # the last two are of a step of more than 64 bits
    return None


def run_tags(tags: Mapping[str, str]) -> list[RunTag]:
    """Return tags as MLflow takes many at once."""
    return [RunTag(key, value) for key, value in tags.items()]


def public(uri: str) -> str:
    """Leave out a user's name and password."""
    return re.sub(r"//[^/@]*@", "//", uri)


class Noting:
    """The pause that a server asks for, noted because no exception of MLflow or requests contains the header."""

    get_retry_after: Callable[[Any], float | None]  # of the class that it is mixed into

    def increment(self, *arguments: Any, response: Any = None, **others: Any) -> Any:
        """Count an answer as urllib3 does."""
        try:
            return super().increment(*arguments, response=response, **others)  # type: ignore[misc]
        except MaxRetryError as error:
            wish = self.get_retry_after(response) if response is not None else None
            error.retry_after_s = wish  # type: ignore[attr-defined]
            raise


def heed_retry_after() -> None:
    """Let MLflow's sessions note Retry-After: they use one of these two classes (seen in 3.17.2)."""
    for name in ("Retry", "JitteredRetry"):
        used = getattr(request_utils, name)
        if not issubclass(used, Noting):
            setattr(request_utils, name, type(name, (Noting, used), {}))


def retry_after_s(error: BaseException | None) -> float | None:
    """Find what `Noting` noted in what an exception came from."""
    while error is not None:
        for cause in (error, *error.args):
            if isinstance(wish := getattr(cause, "retry_after_s", None), int | float):
                return float(wish)
        error = error.__cause__ or error.__context__
    return None
