"""Log images, sounds, texts, tables and histograms as Comet's own kinds, and list the files of an artifact."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from comet_ml.data_structure import Histogram

from runcast.integrations.comet_ml.reader import METADATA
from runcast.integrations.contract import MediaFile
from runcast.integrations.files import files_in


def log_as_its_kind(experiment: Any, media: MediaFile) -> Any:
    """Log a media file; None if Comet cannot take it."""
    metadata = {METADATA: {"key": media.key, "step": media.step}, "caption": media.caption}
    common: dict[str, Any] = {"step": media.step, "metadata": metadata}
    path = str(media.path)
    if media.kind == "image":
        return experiment.log_image(path, name=media.key, **common)
    if media.kind == "audio":
        return experiment.log_audio(path, file_name=media.key, **common)
    if media.kind == "video":
        return experiment.log_video(path, name=media.key, **common)
    if media.kind == "text":
        return experiment.log_text(media.text(), **common)
    if media.kind in ("table", "html"):
        return experiment.log_asset(path, file_name=f"{media.key}{media.path.suffix}", **common)
    counts, edges = media.histogram()
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    histogram = Histogram()
    histogram.add(middles, counts=counts)
    return experiment.log_histogram_3d(histogram, name=media.key, **common)


def list_files(path: Path) -> Mapping[str, Path]:
    """Map the names of files inside an artifact to the files."""
    folder = path if path.is_dir() else path.parent
    return {file.relative_to(folder).as_posix(): file for file in files_in(path)}
