"""Recognition of the media in what a script gives to `log`: texts, pictures, figures and data frames.

The rule for bare arrays is strict, so that weights, masks and probabilities are never taken for a picture, and nothing
waits for a device: see `is_picture`.
"""

import sys
from typing import Any

from runcast.core.errors import OptionError
from runcast.values.media.checks import is_instance, is_of_matplotlib, is_pil_image, is_plotly_figure
from runcast.values.media.kinds import AnyMedia, Figure, Image, Table, Text
from runcast.values.media.rendering import channel_axis
from runcast.values.numbers import device_of

FRAMES = (("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table"))
SMALLEST_SIDE = 8  # in pixels: anything smaller is rather a small matrix


def to_media(value: Any) -> AnyMedia | None:
    """Return a media object as it is, wrap what can be one, and return None for anything else."""
    if isinstance(value, AnyMedia):
        return value
    if isinstance(value, str):
        return Text(value)
    if is_pil_image(value) or is_picture(value):
        return Image(value)
    if is_of_matplotlib(value) or is_plotly_figure(value):
        return Figure(value)
    return Table(value) if any(is_instance(value, *frame) for frame in FRAMES) else None


def is_picture(value: Any) -> bool:
    """Return whether a bare array or tensor is a picture.

    It is on the host, has the shape of an `Image` with sides of at least 8 pixels, and holds bytes (uint8), or three
    channels of floats between 0 and 1.
    """
    shape, kind = getattr(value, "shape", ()), str(getattr(value, "dtype", "")).removeprefix("torch.")
    if len(shape) not in (2, 3) or kind not in ("uint8", "float16", "bfloat16", "float32", "float64"):
        return False
    if device_of(value) != "cpu" or sys.modules.get("numpy") is None:
        return False
    try:
        axis = channel_axis(value)
    except OptionError:
        return False
    if min(side for at, side in enumerate(shape) if at != axis) < SMALLEST_SIDE:
        return False
    if kind == "uint8":
        return True
    return axis is not None and shape[axis] == 3 and bool(value.min() >= 0 and value.max() <= 1)
