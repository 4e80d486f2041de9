"""The files of an MLflow run: named so that none overwrites another, in a store on this machine or on a server."""

import posixpath
import shutil
from fnmatch import fnmatch
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from runcast.core.errors import is_about_content
from runcast.integrations.contract import ArtifactFile, MediaFile, TrackedRun
from runcast.integrations.files import MARKED, in_own_folder, name_of, own_name
from runcast.integrations.mlflow.paths import local_folder

THUMBNAIL_PIXELS = 256


class RunFiles:
    """The folder of a run's files, to which files and folders are uploaded; *names* are of artifacts that it has."""

    def __init__(self, client: MlflowClient, run: Run, tracked: TrackedRun, names: set[str]) -> None:
        self._client, self._run_id, self._tracked, self._names = client, run.info.run_id, tracked, names
        self._folder = local_folder(run.info.artifact_uri)

    def upload(self, path: Path, target: str) -> None:
        """Upload a file or a folder under a name."""
        folder, name = posixpath.split(target if self._folder is None else own_name(self._folder, target))
        with self._tracked.scratch() as temporary:
            if path.is_dir():
                self._client.log_artifacts(self._run_id, str(path), posixpath.join(folder, name))
                return
            if path.name != name:  # MLflow stores a file under the name that it has on disk
                path = under_name(path, Path(temporary, name))
            self._client.log_artifact(self._run_id, str(path), folder or None)

    def upload_artifact(self, artifact: ArtifactFile) -> None:
        """Upload an artifact under its name, in a folder of its own if another one has a part of that place."""
        is_taken = any(_is_within(artifact.name, other) or _is_within(other, artifact.name) for other in self._names)
        self.upload(
            artifact.path, in_own_folder(artifact.name) if is_taken or self._differs(artifact) else artifact.name
        )
        self._names.add(artifact.name)

    def log_image(self, media: MediaFile) -> bool:
        """Log an image as MLflow's own; return whether it is one.

        It is none without Pillow (mlflow-skinny), if it is unknown, cut or too thin to be shrunk, and if it has a
        colour mode that PNG has not.
        """
        try:
            image = mlflow.Image(str(media.path))
        except (ImportError, OSError):
            return False
        if max(image.size) >= THUMBNAIL_PIXELS * min(image.size):
            return False
        when = {"step": media.step, "timestamp": int(media.time * 1000)}
        try:
            self._client.log_image(self._run_id, image, key=media.key, **when)
        except OSError as error:
            if not is_about_content(error):
                raise
            return False
        return True

    def _differs(self, artifact: ArtifactFile) -> bool:
        """Return whether a file is in the place of a folder, or a folder in that of a file."""
        there = self._client.list_artifacts(self._run_id, posixpath.dirname(artifact.name) or None)
        return any(file.path == artifact.name and file.is_dir != artifact.path.is_dir() for file in there)


def _is_within(name: str, other: str) -> bool:
    return name.startswith(f"{other}/")


def list_files(client: MlflowClient, run_id: str, folder: str) -> dict[str, str]:
    """Map the names of what is in a folder of the run to where it is: what has a folder of its own is there."""
    owned = [file.path for file in client.list_artifacts(run_id) if fnmatch(file.path, MARKED)]
    places = [folder or None, *(posixpath.join(own, folder) for own in owned)]
    files = [file.path for place in places for file in client.list_artifacts(run_id, place)]
    return {name: path for path in files if path in (name := name_of(path), in_own_folder(name))}


def under_name(path: Path, wanted: Path) -> Path:
    """Give a file another name, by a link, or by a copy where the file system has no links."""
    try:
        wanted.symlink_to(path.absolute())
    except OSError:
        shutil.copyfile(path, wanted)
    return wanted
