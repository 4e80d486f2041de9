"""The media that can be logged: images, figures, sounds, videos, texts, tables and histograms.

Each object has a `kind` and a `caption`, and can `save` itself as one ordinary file, which `Run.log` does at once. What
cannot be saved never raises in a training loop: `problem` says why, and `Run.log` reports and counts it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from msgspec.structs import force_setattr

from runcast.core.errors import OptionError
from runcast.core.foreign import attempt
from runcast.redaction.tree import redact_text
from runcast.values.media import MediaKind
from runcast.values.media.checks import (
    check_caption,
    check_file,
    drawn_figure,
    foreign,
    is_counted,
    is_path,
    is_pil_image,
    is_plotly_figure,
    rate_of,
)
from runcast.values.media.medium import Medium
from runcast.values.media.rendering import (
    channel_axis,
    copy_as_it_is,
    gif,
    histogram_from,
    histogram_of,
    save_picture,
    sound_axis,
    wav,
)
from runcast.values.media.tables import check_width, csv_text, rows_and_columns

FPS = 4.0  # of a video that says nothing, as in W&B


class Image(Medium, frozen=True, eq=False):
    """A picture, saved as PNG (an existing file is copied unchanged).

    Args:
        data: An array or tensor of any device, of shape [H, W], [H, W, C] or [C, H, W] with C of 1, 3 or 4; or a PIL
            image, or a figure of Matplotlib; or the path of a file of at most 1 GiB. If either end of a shape could be
            C, it is first in a tensor and last in an array. Floats are in 0..1 (slightly outside is clipped), integers
            in 0..255; bools are black and white; NaN is black.
        caption: A line of text below it.
        masks, boxes: Accepted for scripts that were written for W&B, and left out, which `Run.log` counts.
    """

    kind: ClassVar[MediaKind] = "image"
    data: Any
    caption: str | None = None
    masks: Any = None
    boxes: Any = None

    def _check(self) -> None:
        left_out = [name for name in ("masks", "boxes") if getattr(self, name) is not None]
        force_setattr(self, "left_out", ", ".join(left_out))
        check_caption(self.caption)
        if is_path(self.data):
            check_file(self.data)
        elif not is_pil_image(self.data) and hasattr(self.data, "shape"):
            channel_axis(self.data)

    def _save(self, folder: Path, stem: str) -> Path:
        if is_path(self.data):
            return copy_as_it_is(self.data, folder, stem)
        path = folder / f"{stem}.png"
        with foreign("image"):
            save_picture(self.data, path)
        return path


class Figure(Medium, frozen=True, eq=False):
    """A figure of Matplotlib, saved as PNG in its own size and resolution, or of Plotly, saved as an interactive page.

    Axes stand for their figure, and `pyplot` for its current one. It stays open; close it yourself.
    """

    figure: Any
    caption: str | None = None

    @property
    def kind(self) -> MediaKind:  # type: ignore[override]
        """An image, or a page."""
        return "html" if is_plotly_figure(self.figure) else "image"

    def _check(self) -> None:
        check_caption(self.caption)
        if is_plotly_figure(self.figure):
            return
        if (figure := drawn_figure(self.figure)) is None:
            raise OptionError(
                f"Figure takes a Matplotlib or Plotly figure, not {type(self.figure).__name__}. For pixels use Image."
            )
        force_setattr(self, "figure", figure)

    def _save(self, folder: Path, stem: str) -> Path:
        path = folder / (f"{stem}.html" if self.kind == "html" else f"{stem}.png")
        with foreign("figure"):
            if self.kind == "html":
                self.figure.write_html(path, include_plotlyjs="cdn")
            else:
                self.figure.savefig(path, format="png")
        return path


class Audio(Medium, frozen=True, eq=False):
    """A sound, saved as 16-bit WAV (an existing file is copied unchanged).

    Args:
        data: An array or tensor of floats in -1..1 (cut outside) or of int16, of shape [N], [N, C] or [C, N] with C of
            1 or 2; or a path.
        sample_rate: Samples per second; a file has its own.
        caption: A line of text below it.
    """

    kind: ClassVar[MediaKind] = "audio"
    data: Any
    sample_rate: int | None = None
    caption: str | None = None

    def _check(self) -> None:
        check_caption(self.caption)
        if is_path(self.data):
            check_file(self.data)
            return
        rate = rate_of(self.sample_rate)
        if not 1 <= rate < 2**31:
            raise OptionError(
                f"sample_rate={self.sample_rate!r} must be samples per second, as in Audio(wave, 16_000)."
            )
        force_setattr(self, "sample_rate", int(rate))
        if hasattr(self.data, "shape"):
            sound_axis(self.data)

    def _save(self, folder: Path, stem: str) -> Path:
        if is_path(self.data):
            return copy_as_it_is(self.data, folder, stem)
        path = folder / f"{stem}.wav"
        with foreign("sound"):
            path.write_bytes(wav(self.data, int(self.sample_rate or 0)))
        return path


class Video(Medium, frozen=True, eq=False):
    """A video: a file, copied unchanged, or frames, saved as GIF (which needs Pillow).

    Args:
        path: A path; or an array or tensor of shape [T, H, W], [T, H, W, C] or [T, C, H, W], or a list of frames, which
            are as for `Image`.
        caption: A line of text below it.
        fps: Frames per second; a file has its own.
        format: Accepted for scripts that were written for W&B.
    """

    kind: ClassVar[MediaKind] = "video"
    path: Any
    caption: str | None = None
    fps: float | None = None
    format: str | None = None

    def _check(self) -> None:
        check_caption(self.caption)
        if is_path(self.path):
            check_file(self.path)
        elif not hasattr(self.path, "shape") and not (isinstance(self.path, list | tuple) and self.path):
            raise OptionError(f"Video takes the path of a file or an array of frames, not {type(self.path).__name__}.")
        elif self.fps is not None:
            rate = rate_of(self.fps)
            if not 0 < rate <= 1000:
                raise OptionError(f"fps={self.fps!r} must be frames per second, as in Video(frames, fps=4).")
            force_setattr(self, "fps", rate)

    def _save(self, folder: Path, stem: str) -> Path:
        if is_path(self.path):
            return copy_as_it_is(self.path, folder, stem)
        path = folder / f"{stem}.gif"
        with foreign("video"):
            path.write_bytes(gif(self.path, self.fps or FPS))
        return path


class Text(Medium, frozen=True, eq=False):
    """A text, such as a sample from a model; saved as UTF-8, with secrets redacted."""

    kind: ClassVar[MediaKind] = "text"
    text: str
    caption: str | None = None

    def _check(self) -> None:
        check_caption(self.caption)
        if not isinstance(self.text, str):
            raise OptionError(f"Text takes a str, not {type(self.text).__name__}.")

    def _save(self, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.txt"
        path.write_bytes(redact_text(self.text).encode("utf-8", "backslashreplace"))
        return path


class Table(Medium, frozen=True, eq=False):
    """Rows and columns, saved as CSV, with secrets redacted.

    Args:
        rows: Lists of cells, one list a row, or a 2-d array (both need `columns`); mappings, one a row; a mapping of
            columns to their cells; a data frame of pandas (its index only if labelled), Polars or PyArrow, or a
            `datasets.Dataset`. None is an empty cell; a list, a mapping or an array becomes JSON.
        columns: The names of the columns; where the rows have names, which of them, and in which order.
        caption: A line of text below it.
        data: W&B's name for rows.
        dataframe: W&B's name for a data frame.
    """

    kind: ClassVar[MediaKind] = "table"
    rows: Any = None
    columns: Sequence[str] | None = None
    caption: str | None = None
    data: Any = None
    dataframe: Any = None

    def _check(self) -> None:
        check_caption(self.caption)
        given = [one for one in (self.rows, self.data, self.dataframe) if one is not None]
        if len(given) > 1:
            raise OptionError("Table takes its rows once: as rows, as data or as a dataframe.")
        with foreign("table"):
            rows, columns = rows_and_columns(given[0] if given else [], self.columns)
        for index, row in enumerate(rows):
            check_width(index, row, columns)
        force_setattr(self, "rows", rows)
        force_setattr(self, "columns", columns)
        for name in ("data", "dataframe"):
            force_setattr(self, name, None)

    def add_data(self, *row: Any) -> None:
        """Add a row, as W&B's tables do."""
        if self.problem is None:
            attempt(lambda: check_width(len(self.rows), row, self.columns or ()), self._note)
            self.rows.append(list(row))

    def _save(self, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.csv"
        path.write_bytes(csv_text(self.rows, self.columns or ()).encode("utf-8", "backslashreplace"))
        return path


class Histogram(Medium, frozen=True, eq=False):
    """The distribution of values, saved as JSON of `counts` (n of them) and `edges` (n + 1).

    Args:
        values: An array or tensor of any shape and device, or a list. Values that are not finite are counted
            separately, as `nonfinite`. Or the counts and edges that `numpy.histogram` returns.
        bins: The number of equal parts of their range.
        counts: Instead of values: the number of values in each bin.
        edges: With counts: the bounds of the bins, ascending.
        caption: A line of text below it.
        num_bins: W&B's name for bins.
        np_histogram: W&B's name for the counts and edges of `numpy.histogram`.
    """

    kind: ClassVar[MediaKind] = "histogram"
    values: Any = None
    bins: int = 64
    counts: Any = None
    edges: Any = None
    caption: str | None = None
    np_histogram: Any = None
    num_bins: int | None = None

    def _check(self) -> None:
        check_caption(self.caption)
        force_setattr(self, "bins", self.bins if self.num_bins is None else self.num_bins)
        if is_counted(pair := self.values if self.np_histogram is None else self.np_histogram):
            for name, value in zip(("counts", "edges", "values"), (*pair, None), strict=True):
                force_setattr(self, name, value)
        if (self.values is None) == (self.counts is None) or (self.counts is None) != (self.edges is None):
            raise OptionError("Histogram takes either values, or counts with edges.")
        if isinstance(self.bins, bool) or not hasattr(type(self.bins), "__index__") or self.bins < 1:
            raise OptionError(f"bins={self.bins!r} must be a number of bins, 1 or more.")
        force_setattr(self, "bins", int(self.bins))
        if self.counts is not None and len(self.edges) != len(self.counts) + 1:
            raise OptionError(f"{len(self.counts)} counts need {len(self.counts) + 1} edges, not {len(self.edges)}.")

    def _save(self, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.json"
        with foreign("histogram"):
            path.write_bytes(
                histogram_of(self.values, self.bins) if self.counts is None else histogram_from(self.counts, self.edges)
            )
        return path


AnyMedia: TypeAlias = Image | Figure | Audio | Video | Text | Table | Histogram
