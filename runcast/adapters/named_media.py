"""How the media calls of other trackers become ours, with the same names in every adapter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runcast.run.run import Run
from runcast.values.media.kinds import Figure, Image, Table


def as_images(key: str, value: Any) -> dict[str, Any]:
    """Name one image or several (a list, or a batch of four dimensions); an (image, text) pair has a caption."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
        return {key: Image(value[0], caption=value[1] or None)}
    several = isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 4
    return by_name(key, [each if isinstance(each, Image) else Image(each) for each in (value if several else [value])])


def by_name(key: str, values: Sequence[Any]) -> dict[str, Any]:
    """Map one value to its key, several to key/0, key/1 …."""
    return {key: values[0]} if len(values) == 1 else {f"{key}/{index}": each for index, each in enumerate(values)}


def as_table(columns: Sequence[str] | None, data: Any, dataframe: Any) -> Table:
    """Make a table of columns and rows, or of a data frame; columns without names are numbered."""
    if dataframe is not None:
        return Table(dataframe)
    if columns is None and isinstance(data, list | tuple) and all(isinstance(row, list | tuple) for row in data):
        columns = [str(number) for number in range(max(map(len, data), default=0))]
    elif columns is None and getattr(data, "ndim", 0) == 2:
        columns = [str(number) for number in range(data.shape[1])]
    return Table([] if data is None else data, columns=columns)


def log_figure(run: Run, figure: Any, file: str, step: int | None = None) -> None:
    """Log a figure of Matplotlib as an image; one of another library, as Plotly's, as an artifact in HTML."""
    key = str(Path(file).with_suffix(""))
    if hasattr(figure, "savefig") or not hasattr(figure, "to_html"):
        values: Mapping[str, Any] = {key: Figure(figure) if hasattr(figure, "savefig") else figure}
        run.log(values, step=step)
    else:
        run._keep(str(figure.to_html()).encode(), Path(file).with_suffix(".html").name, "file")
