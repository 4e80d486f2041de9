"""The files that records refer to, as a tracker gets them: under the service's names, and inside the run's folder."""

from runcast.delivery.naming import ServiceNames
from runcast.integrations.contract import ArtifactFile, MediaFile
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import inside
from runcast.journal.records import Artifact, Media


def media_file(record: Media, name: str, directory: RunDirectory) -> MediaFile:
    """Return what a tracker gets for a media record, under a name of the service.

    Raises:
        FinalError: The file is not in the run's folder.
    """
    path = inside(directory.path, record.path)
    return MediaFile(name, record.step, record.kind, path, record.caption, record.time)


def artifact_file(record: Artifact, names: ServiceNames, directory: RunDirectory) -> ArtifactFile:
    """Return what a tracker gets for an artifact record.

    Raises:
        FinalError: The file or folder is not in the run's folder.
    """
    return ArtifactFile(names.artifact(record.name), record.kind, inside(directory.path, record.path))
