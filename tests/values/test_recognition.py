"""What a script gives to `log` bare is taken for what it is, and for nothing that it is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PIL_Image

from runcast.values.media.kinds import Figure, Image, Table, Text
from runcast.values.media.recognition import to_media

torch = pytest.importorskip("torch")

BYTES = np.zeros((8, 9, 3), np.uint8)


@pytest.mark.parametrize(
    "value",
    [
        BYTES,
        BYTES[:, :, 0],
        BYTES[:, :, :1],
        BYTES.transpose(2, 0, 1),
        np.zeros((8, 9, 4), np.uint8),
        np.full((8, 9, 3), 0.5),
        torch.zeros(3, 8, 9),
        torch.zeros(3, 8, 9, dtype=torch.bfloat16),
        torch.zeros(8, 9, dtype=torch.uint8),
        PIL_Image.fromarray(BYTES),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'shape', '')}",
)
def test_a_bare_picture_is_an_image(value: Any, tmp_path: Path) -> None:
    """Bytes in the shape of a picture are one, and so are three channels of floats between 0 and 1."""
    media = to_media(value)

    assert isinstance(media, Image)
    with PIL_Image.open(media.save(tmp_path, "x")) as picture:
        assert picture.size == (9, 8)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((8, 9)),  # a matrix of weights
        np.zeros((1, 64, 64), np.float32),  # a mask
        np.full((8, 9, 3), 1.5),  # not between 0 and 1
        np.full((8, 9, 3), np.nan),
        np.random.default_rng(0).normal(size=(3, 64, 64)),
        np.zeros((8, 9, 3), int),
        np.zeros((8, 9, 3), bool),
        np.zeros((7, 9, 3), np.uint8),  # a small matrix
        np.zeros((8, 8, 9, 3), np.uint8),  # a batch
        np.zeros(64, np.uint8),
        torch.zeros(3, 8, 9, device="meta"),
        np.zeros((0, 9, 3), np.uint8),
        1,
        None,
        [BYTES],
        object(),
        b"bytes",
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'shape', '')}",
)
def test_what_may_be_something_else_is_no_image(value: Any) -> None:
    """Weights, masks, counts, batches and small matrices are never taken for a picture."""
    assert to_media(value) is None


def test_a_bare_text_is_a_text() -> None:
    """Also one of NumPy."""
    assert isinstance(to_media("text"), Text)
    assert isinstance(to_media(np.str_("text")), Text)


def test_a_bare_matplotlib_figure_is_a_picture() -> None:
    """It needs no wrapping."""
    figure_module = pytest.importorskip("matplotlib.figure")

    media = to_media(figure_module.Figure())

    assert isinstance(media, Figure)
    assert media.kind == "image"


def test_a_bare_plotly_figure_is_an_interactive_page(tmp_path: Path) -> None:
    """It is kept as HTML."""
    graph_objects = pytest.importorskip("plotly.graph_objects")

    media = to_media(graph_objects.Figure(graph_objects.Scatter(y=[1, 2])))

    assert isinstance(media, Figure)
    assert media.kind == "html"
    path = media.save(tmp_path, "x")
    assert path == tmp_path / "x.html"
    assert "Plotly.newPlot" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "polars"])
def test_a_bare_data_frame_is_a_table(library: str, tmp_path: Path) -> None:
    """Its columns and rows are kept, the numbers of the rows are not."""
    module = pytest.importorskip(library)
    frame = {"pandas": "DataFrame", "pyarrow": "table", "polars": "DataFrame"}[library]

    media = to_media(getattr(module, frame)({"n": [1, 2], "s": ["a", "b"]}))

    assert isinstance(media, Table)
    assert media.save(tmp_path, "x").read_text(encoding="utf-8") == "n,s\n1,a\n2,b\n"
