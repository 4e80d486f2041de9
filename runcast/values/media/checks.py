"""What the media classes check and read of values that are a user's."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runcast.core.errors import OptionError
from runcast.values.numbers import NotANumber, to_number


def is_instance(value: Any, module: str, name: str) -> bool:
    """Return whether *value* is an instance of a class; if its module is not loaded, it cannot be."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def is_pil_image(value: Any) -> bool:
    """Return whether a value is a picture of Pillow."""
    return is_instance(value, "PIL.Image", "Image")


def is_of_matplotlib(value: Any) -> bool:
    """Return whether a value is a figure of Matplotlib, axes in one, or pyplot, which means its current figure."""
    names = (("matplotlib.figure", "Figure"), ("matplotlib.axes", "Axes"))
    return _is_pyplot(value) or any(is_instance(value, *name) for name in names)


def drawn_figure(value: Any) -> Any:
    """Return the figure that a value is or belongs to; None if it is none of Matplotlib's."""
    if _is_pyplot(value):
        return value.gcf()
    figure = value.get_figure() if is_instance(value, "matplotlib.axes", "Axes") else value
    return figure if hasattr(figure, "savefig") else None


def _is_pyplot(value: Any) -> bool:
    return value is not None and value is sys.modules.get("matplotlib.pyplot")


def is_plotly_figure(value: Any) -> bool:
    """Return whether a value is a figure of Plotly."""
    return is_instance(value, "plotly.basedatatypes", "BaseFigure")


def is_path(data: Any) -> bool:
    """Return whether a value names a file."""
    return isinstance(data, str | os.PathLike)


def is_counted(values: Any) -> bool:
    """Return whether values are counts and their edges, as NumPy's and torch's `histogram` return them."""
    return isinstance(values, tuple) and len(values) == 2 and len(values[1]) == len(values[0]) + 1


def rate_of(value: Any) -> float:
    """Return a number of any library, such as the fraction that a file of a video has; 0 if it is none."""
    try:
        return 0 if isinstance(value, bool) else to_number(value)
    except NotANumber:
        return 0


def check_caption(caption: Any) -> None:
    """Raise OptionError if a caption is not a text."""
    if caption is not None and not isinstance(caption, str):
        raise OptionError(f"caption={caption!r} must be a text. Write it as: caption=str(…)")


def check_decoded(data: Any) -> None:
    """Raise OptionError if data are the bytes of a file, or an open one."""
    if isinstance(data, bytes | bytearray | memoryview) or hasattr(type(data), "read"):
        raise OptionError(
            "It takes a picture, a sound or an array, not the content of a file. Give its path, or decode it first: "
            "PIL.Image.open(io.BytesIO(content)), say."
        )


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise OptionError if there is no such file."""
    if not Path(path).is_file():
        raise OptionError(f"There is no file {os.fspath(path)!r} to log. Write it first, or correct the path.")


@contextlib.contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn an exception raised while foreign data is read into our error, so that training continues."""
    try:
        yield
    except (ArithmeticError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"The {what} cannot be read ({type(error).__name__}: {error}).") from error
