"""How the media calls of other trackers become ours, with the same names in every adapter."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runcast.core.foreign import attempt
from runcast.run.run import Run
from runcast.values.media.kinds import Audio, Figure, Image, Table, Video

_BATCH = {Image: 4, Audio: 3, Video: 5}  # the dimensions of several in one array


def as_images(key: str, value: Any) -> dict[str, Any]:
    """Name one image or several (a list, or a batch of four dimensions); an (image, text) pair has a caption."""
    several = (isinstance(value, list | tuple) and not _is_pair(value)) or getattr(value, "ndim", 0) == 4
    return by_name(key, [_as_image(each) for each in (value if several else [value])])


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str)


def _as_image(value: Any) -> Image:
    if _is_pair(value):
        return Image(value[0], caption=value[1] or None)
    return value if isinstance(value, Image) else Image(value)


def log_several(run: Run, kind: Any, key: str, values: Any, step: int | None, details: Mapping[str, Any]) -> None:
    """Log one object of a kind under the key, several (a list, an iterator, a batch) under key/0, key/1 ….

    Each detail, such as `caption`, is one for all, or a list with one for each. Those that the kind has not are counted
    and reported.
    """
    if (shape := getattr(values, "shape", None)) is not None:
        several = len(shape) == _BATCH[kind]
    else:
        several = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    parts = attempt(lambda: list(values), lambda _: [values]) if several else [values]
    valid = kind.__struct_fields__[1:]
    for name in sorted(set(details).difference(valid)):
        run._drop(key, f"has {name!r}, which {kind.__name__} does not take")
    known = {name: of for name, of in details.items() if name in valid and of is not None}
    made = [kind(part, **{name: _detail(of, index) for name, of in known.items()}) for index, part in enumerate(parts)]
    run.log(by_name(key, made), step=step)


def _detail(of: Any, index: int) -> Any:
    if not isinstance(of, list | tuple):
        return of
    return of[index] if index < len(of) else None


def keep_layers(run: Run, model: Any) -> None:
    """Keep the model's layers, as PyTorch prints them, as the artifact `model.txt`."""
    run._guarded("model.txt", lambda: run._keep(str(model).encode("utf-8", "replace"), "model.txt", "config"))


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


def log_figure(run: Run, figure: Any, key: str, step: int | None = None) -> None:
    """Log a figure of Matplotlib as an image; one of another library, as Plotly's, as an artifact in HTML."""
    if hasattr(figure, "savefig") or not hasattr(figure, "to_html"):
        values: Mapping[str, Any] = {key: Figure(figure) if hasattr(figure, "savefig") else figure}
        run.log(values, step=step)
    else:
        run._guarded(key, lambda: run._keep(str(figure.to_html()).encode(), f"{Path(key).name}.html", "file"))
