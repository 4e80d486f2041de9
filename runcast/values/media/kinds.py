"""The media that can be logged: images, figures, sounds, videos, texts, tables and histograms.

Each object has a `kind` and a `caption`, and can `save` itself as one ordinary file. A wrong shape is an error in the
constructor; the content is read when the object is saved, which `Run.log` does at once.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import msgspec
from msgspec.structs import force_setattr

from runcast.core.errors import OptionError
from runcast.redaction.tree import redact_text
from runcast.values.copying import copy_small
from runcast.values.media import MediaKind
from runcast.values.media.checks import check_caption, check_file, foreign, is_instance, is_path
from runcast.values.media.rendering import (
    channel_axis,
    csv_text,
    histogram_from,
    histogram_of,
    png,
    rows_and_columns,
    sound_axis,
    wav,
)
from runcast.values.numbers import NotANumber, to_number

MAX_BYTES = 2**30  # of a file: a TensorBoard record holds 2 GiB, and each tracker makes a copy


class Image(msgspec.Struct, frozen=True, eq=False):
    """A picture, saved as PNG (an existing file is copied unchanged).

    Args:
        data: An array or tensor of any device, of shape [H, W], [H, W, C] or [C, H, W] with C of 1, 3 or 4; or a PIL
            image; or the path of a file of at most 1 GiB. If either end of a shape could be C, it is first in a tensor
            and last in an array. Floats are in 0..1 (slightly outside is clipped), integers in 0..255; bools are black
            and white; NaN is black.
        caption: A line of text below it.

    Raises:
        OptionError: The shape is invalid, or the file is missing; `save` raises it for invalid values.
    """

    kind: ClassVar[MediaKind] = "image"
    data: Any
    caption: str | None = None

    def __post_init__(self) -> None:
        check_caption(self.caption)
        if is_path(self.data):
            check_file(self.data)
        elif not _is_pil_image(self.data) and hasattr(self.data, "shape"):
            channel_axis(self.data)

    def save(self, folder: Path, stem: str) -> Path:
        """Write the picture into *folder* and return its path."""
        if is_path(self.data):
            return _copy(self.data, folder, stem)
        path = folder / f"{stem}.png"
        with foreign("image"):
            if _is_pil_image(self.data):
                known = self.data.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
                (self.data if known else self.data.convert("RGB")).save(path, format="PNG")
            else:
                path.write_bytes(png(self.data))
        return path


class Figure(msgspec.Struct, frozen=True, eq=False):
    """A Matplotlib figure, saved as PNG in its own size and resolution. It stays open; close it yourself."""

    kind: ClassVar[MediaKind] = "image"
    figure: Any
    caption: str | None = None

    def __post_init__(self) -> None:
        check_caption(self.caption)
        if not hasattr(self.figure, "savefig"):
            raise OptionError(
                f"Figure takes a Matplotlib figure, not {type(self.figure).__name__}. For pixels use Image."
            )

    def save(self, folder: Path, stem: str) -> Path:
        """Draw the figure into *folder* and return its path."""
        path = folder / f"{stem}.png"
        with foreign("figure"):
            self.figure.savefig(path, format="png")
        return path


class Audio(msgspec.Struct, frozen=True, eq=False):
    """A sound, saved as 16-bit WAV (an existing file is copied unchanged).

    Args:
        data: An array or tensor of floats in -1..1 (cut outside) or of int16, of shape [N], [N, C] or [C, N] with C of
            1 or 2; or a path.
        sample_rate: Samples per second; a file has its own.
        caption: A line of text below it.

    Raises:
        OptionError: The shape or the rate is invalid, or the file is missing; `save` raises it for invalid values.
    """

    kind: ClassVar[MediaKind] = "audio"
    data: Any
    sample_rate: int | None = None
    caption: str | None = None

    def __post_init__(self) -> None:
        check_caption(self.caption)
        if is_path(self.data):
            check_file(self.data)
            return
        try:
            rate = 0 if isinstance(self.sample_rate, bool) else to_number(self.sample_rate)
        except NotANumber:
            rate = 0
        if not 1 <= rate < 2**31:
            raise OptionError(
                f"sample_rate={self.sample_rate!r} must be samples per second, as in Audio(wave, 16_000)."
            )
        force_setattr(self, "sample_rate", int(rate))
        if hasattr(self.data, "shape"):
            sound_axis(self.data)

    def save(self, folder: Path, stem: str) -> Path:
        """Write the sound into *folder* and return its path."""
        if is_path(self.data):
            return _copy(self.data, folder, stem)
        path = folder / f"{stem}.wav"
        with foreign("sound"):
            path.write_bytes(wav(self.data, int(self.sample_rate or 0)))
        return path


class Video(msgspec.Struct, frozen=True, eq=False):
    """A video file, copied unchanged."""

    kind: ClassVar[MediaKind] = "video"
    path: str | os.PathLike[str]
    caption: str | None = None

    def __post_init__(self) -> None:
        check_caption(self.caption)
        if not is_path(self.path):
            raise OptionError(f"Video takes the path of a file, not {type(self.path).__name__}. Write the video first.")
        check_file(self.path)

    def save(self, folder: Path, stem: str) -> Path:
        """Copy the video into *folder* and return its path."""
        return _copy(self.path, folder, stem)


class Text(msgspec.Struct, frozen=True, eq=False):
    """A text, such as a sample from a model; saved as UTF-8, with secrets redacted."""

    kind: ClassVar[MediaKind] = "text"
    text: str
    caption: str | None = None

    def __post_init__(self) -> None:
        check_caption(self.caption)
        if not isinstance(self.text, str):
            raise OptionError(f"Text takes a str, not {type(self.text).__name__}.")

    def save(self, folder: Path, stem: str) -> Path:
        """Write the text into *folder* and return its path."""
        path = folder / f"{stem}.txt"
        path.write_bytes(redact_text(self.text).encode("utf-8", "backslashreplace"))
        return path


class Table(msgspec.Struct, frozen=True, eq=False):
    """Rows and columns, saved as CSV, with secrets redacted.

    Args:
        rows: Lists of cells, one list a row, or a 2-d array (both need `columns`); mappings, one a row; a mapping of
            columns to their cells; a pandas or Polars data frame (without its index). None is an empty cell.
        columns: The names of the columns; where the rows have names, which of them, and in which order.
        caption: A line of text below it.

    Raises:
        OptionError: Rows are longer or shorter than `columns`, or there are no names.
    """

    kind: ClassVar[MediaKind] = "table"
    rows: Any
    columns: Sequence[str] | None = None
    caption: str | None = None

    def __post_init__(self) -> None:
        check_caption(self.caption)
        with foreign("table"):
            rows, columns = rows_and_columns(self.rows, self.columns)
        for index, row in enumerate(rows):
            if len(row) != len(columns):
                raise OptionError(
                    f"Row {index} of the table has {len(row)} cells for {len(columns)} columns: {', '.join(columns)}."
                )
        force_setattr(self, "rows", rows)
        force_setattr(self, "columns", columns)

    def save(self, folder: Path, stem: str) -> Path:
        """Write the table into *folder* and return its path."""
        path = folder / f"{stem}.csv"
        path.write_bytes(csv_text(self.rows, self.columns or ()).encode("utf-8", "backslashreplace"))
        return path


class Histogram(msgspec.Struct, frozen=True, eq=False):
    """The distribution of values, saved as JSON of `counts` (n of them) and `edges` (n + 1).

    Args:
        values: An array or tensor of any shape and device, or a list. Values that are not finite are counted
            separately, as `nonfinite`.
        bins: The number of equal parts of their range.
        counts: Instead of values: the number of values in each bin.
        edges: With counts: the bounds of the bins, ascending.
        caption: A line of text below it.

    Raises:
        OptionError: There are neither values nor counts, or counts and edges do not fit together.
    """

    kind: ClassVar[MediaKind] = "histogram"
    values: Any = None
    bins: int = 64
    counts: Any = None
    edges: Any = None
    caption: str | None = None

    def __post_init__(self) -> None:
        check_caption(self.caption)
        if (self.values is None) == (self.counts is None) or (self.counts is None) != (self.edges is None):
            raise OptionError("Histogram takes either values, or counts with edges.")
        if isinstance(self.bins, bool) or not hasattr(type(self.bins), "__index__") or self.bins < 1:
            raise OptionError(f"bins={self.bins!r} must be a number of bins, 1 or more.")
        force_setattr(self, "bins", int(self.bins))
        if self.counts is not None and len(self.edges) != len(self.counts) + 1:
            raise OptionError(f"{len(self.counts)} counts need {len(self.counts) + 1} edges, not {len(self.edges)}.")

    def save(self, folder: Path, stem: str) -> Path:
        """Write the histogram into *folder* and return its path."""
        path = folder / f"{stem}.json"
        with foreign("histogram"):
            path.write_bytes(
                histogram_of(self.values, self.bins) if self.counts is None else histogram_from(self.counts, self.edges)
            )
        return path


AnyMedia: TypeAlias = Image | Figure | Audio | Video | Text | Table | Histogram


def to_media(value: Any) -> AnyMedia | None:
    """Return a media object as it is, wrap a bare PIL image or Matplotlib figure, or return None for anything else."""
    if isinstance(value, AnyMedia):
        return value
    if _is_pil_image(value):
        return Image(value)
    return Figure(value) if is_instance(value, "matplotlib.figure", "Figure") else None


def _is_pil_image(value: Any) -> bool:
    return is_instance(value, "PIL.Image", "Image")


def _copy(source: str | os.PathLike[str], folder: Path, stem: str) -> Path:
    path = folder / f"{stem}{Path(source).suffix.lower()}"
    copy_small(Path(source), path, MAX_BYTES)
    return path
