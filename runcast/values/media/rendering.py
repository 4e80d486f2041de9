"""Rendering of pictures, films, sounds and histograms, in any accepted form, to the content of a file.

NumPy is imported only when an array is read. A tensor on a device is copied to the host, which waits for it.
"""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import OptionError
from runcast.values.config import plain_value
from runcast.values.copying import copy_small
from runcast.values.media.checks import check_decoded, drawn_figure, is_pil_image
from runcast.values.media.tables import listed

OVERSHOOT = 0.5  # a network's output may leave 0..1 slightly and is clipped; values in -1..1 or 0..255 are a mistake
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # of Pillow
MAX_BYTES = 2**30  # of a file: a TensorBoard record holds 2 GiB, and each tracker makes a copy
PNG_LEVEL = 1  # of 9
PNG_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGBA; PNG specification (2003), section 11.2.2


def copy_as_it_is(source: str | os.PathLike[str], folder: Path, stem: str) -> Path:
    """Copy a file under another name, with its own ending; return the copy."""
    path = folder / f"{stem}{Path(source).suffix.lower()}"
    copy_small(Path(source), path, MAX_BYTES)
    return path


def _host_array(data: Any) -> Any:
    """Copy an array, a tensor or a list to a NumPy array, with floats of at least 32 bits."""
    import numpy as np

    check_decoded(data)
    if hasattr(type(data), "detach"):
        data = data.detach()
        if data.is_floating_point() and data.element_size() < 4:
            data = data.float()  # NumPy has no bfloat16
        data = data.numpy(force=True)
    array = np.asarray(data)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def channel_axis(data: Any) -> int | None:
    """Find the axis of a picture that holds its channels; None if there is none."""
    shape = tuple(data.shape)
    if 0 not in shape and len(shape) == 2:
        return None
    if 0 not in shape and len(shape) == 3:
        for axis in (0, 2) if hasattr(type(data), "detach") else (2, 0):
            if shape[axis] in PNG_COLOR_TYPES:
                return axis
    batch = " Of a batch, log a few images as a list: [runcast.Image(x) for x in batch[:8]]." if len(shape) == 4 else ""
    raise OptionError(
        f"An image cannot have the shape {list(shape)}. Use [H, W], [H, W, C] or [C, H, W], with C of 1, 3 or 4."
        + batch
    )


def _pixels(data: Any) -> Any:
    """Turn a picture into uint8 of shape [H, W, C]."""
    import numpy as np

    array = _host_array(data)
    axis = channel_axis(data if hasattr(data, "shape") else array)
    array = array[:, :, None] if axis is None else np.moveaxis(array, axis, 2)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "fiu":
        raise OptionError(f"An image cannot be of {array.dtype}. Use floats in 0..1, integers in 0..255 or bools.")
    if array.dtype == np.uint8:
        return array
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    floats = array.dtype.kind == "f"
    if low < (-OVERSHOOT if floats else 0) or high > (1 + OVERSHOOT if floats else 255):
        raise OptionError(
            f"The image holds values from {low:g} to {high:g}. Scale it: floats must be in 0..1, integers in 0..255."
        )
    if floats:
        array = np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255 + 0.5
    return array.astype(np.uint8)


def png(data: Any) -> bytes:
    """Write a picture as PNG, with zlib only: the base install has no imaging library."""
    pixels = _pixels(data)
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOR_TYPES[channels], 0, 0, 0)
    changes = pixels.copy()
    changes[1:] -= pixels[:-1]  # filter 2: a quarter smaller than unfiltered, and no slower
    rows = b"".join(b"\2" + row.tobytes() for row in changes)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, PNG_LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def save_picture(data: Any, path: Path) -> None:
    """Write a picture of any accepted form, or a figure, as PNG."""
    mode = data.mode if is_pil_image(data) else ""
    if (figure := drawn_figure(data)) is not None:
        figure.savefig(path, format="png")
    elif mode in PNG_MODES:
        data.save(path, format="PNG")
    elif mode and mode[0] not in "FI":
        data.convert("RGB").save(path, format="PNG")
    else:  # of more than 8 bits, which Pillow would cut at 255
        path.write_bytes(png(data))


def gif(frames: Any, fps: float) -> bytes:
    """Write the frames of a film as GIF; the base install has no imaging library, so Pillow must be installed."""
    if not (is_list := isinstance(frames, list | tuple)) and (
        len(shape := list(getattr(frames, "shape", ()))) not in (3, 4) or 0 in shape
    ):
        raise OptionError(f"A video cannot have the shape {shape}. Use [T, H, W], [T, H, W, C] or [T, C, H, W].")
    try:
        from PIL import Image as Pillow
    except ImportError:
        raise OptionError(
            "Frames become a video with Pillow, which is not installed: pip install pillow. Or write the video to a "
            "file, and log runcast.Video(path)."
        ) from None
    first, *others = (
        frame.convert("RGB") if is_pil_image(frame) else Pillow.fromarray(_pixels(frame).squeeze())
        for frame in (frames if is_list else _host_array(frames))
    )
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=max(20, round(1000 / fps)), loop=0)
    return buffer.getvalue()


def sound_axis(data: Any) -> int | None:
    """Find the axis of a sound that holds its channels; None if there is none."""
    shape = tuple(data.shape)
    if 0 not in shape and len(shape) == 1:
        return None
    if 0 not in shape and len(shape) == 2 and min(shape) <= 2:
        return 1 if shape[1] <= 2 else 0
    raise OptionError(f"A sound cannot have the shape {list(shape)}. Use [N], [N, C] or [C, N], with C of 1 or 2.")


def _samples(data: Any) -> Any:
    """Turn a sound into little-endian int16 of shape [N, C]."""
    import numpy as np

    array = _host_array(data)
    axis = sound_axis(array)
    array = array[:, None] if axis is None else np.moveaxis(array, axis, 1)
    if array.dtype.kind == "f":
        array = (np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1, 1) * 32767).round()
    elif array.dtype != np.int16:
        raise OptionError(f"A sound cannot be of {array.dtype}. Use floats in -1..1 or int16.")
    return array.astype("<i2")


def wav(data: Any, sample_rate: int) -> bytes:
    """Write a sound as 16-bit WAV."""
    import wave  # rarely needed, and start-up counts

    samples = _samples(data)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def histogram_of(values: Any, bins: int) -> bytes:
    """Count the values in each of equal parts of their range, and write the counts as JSON."""
    import numpy as np

    array = _host_array(values).ravel()
    if array.dtype.kind not in "bfiu":
        raise OptionError(f"A histogram cannot be of {array.dtype}: it is of numbers.")
    array = array.astype(np.float64)
    finite = array[np.isfinite(array)]
    try:
        with np.errstate(over="raise"):
            counts, edges = np.histogram(finite, bins)
    except (FloatingPointError, ValueError):  # a range so wide that it overflows, or narrower than its bins
        edges = np.linspace(finite.min() / 2, finite.max() / 2, bins + 1) * 2
        counts, _ = np.histogram(finite, edges)
    content = {"counts": counts.tolist(), "edges": edges.tolist()}
    if finite.size < array.size:
        content["nonfinite"] = array.size - finite.size
    return msgspec.json.encode(content)


def histogram_from(counts: Any, edges: Any) -> bytes:
    """Check counts and edges, and write them as JSON."""
    numbers: list[Any] = [plain_value(count) for count in listed(counts)]
    bounds: list[Any] = [plain_value(edge) for edge in listed(edges)]
    if not all(isinstance(each, int | float) for each in numbers + bounds) or any(count < 0 for count in numbers):
        raise OptionError("The counts of a histogram must be finite and not negative, its edges finite.")
    if sorted(bounds) != bounds:
        raise OptionError("The edges of a histogram must ascend.")
    return msgspec.json.encode({"counts": numbers, "edges": bounds})
