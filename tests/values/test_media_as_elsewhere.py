"""Media in the forms in which other tools and libraries give them: W&B's arguments, lists of frames, an index of pandas."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runcast.core.errors import OptionError
from runcast.values.media.kinds import Audio, Histogram, Image, Table, Video

Pillow = pytest.importorskip("PIL.Image")
pandas = pytest.importorskip("pandas")
torch = pytest.importorskip("torch")

RED, BLUE = (255, 0, 0), (0, 0, 255)


def pixels(colour: tuple[int, int, int]) -> Any:
    """Make a frame of one colour, of shape [H, W, C]."""
    return np.full((8, 8, 3), colour, dtype=np.uint8)


FRAMES = {
    "arrays": lambda colour: pixels(colour),
    "tensors": lambda colour: torch.tensor(pixels(colour)).permute(2, 0, 1),
    "pictures": lambda colour: Pillow.fromarray(pixels(colour)),
    "pictures with a palette": lambda colour: Pillow.fromarray(pixels(colour)).convert("P"),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("collection", [list, tuple])
def test_a_list_of_frames_is_a_video(kind: str, collection: Any, tmp_path: Path) -> None:
    """As `frames.append(env.render())` collects them, and as diffusers returns them; with W&B's `format`."""
    video = Video(collection(FRAMES[kind](colour) for colour in (RED, BLUE)), fps=4, format="mp4")

    path = video.save(tmp_path, "x")

    assert path.suffix == ".gif"
    with Pillow.open(path) as film:
        assert film.n_frames == 2
        shown = []
        for number in range(2):
            film.seek(number)
            shown.append(film.convert("RGB").getpixel((4, 4)))
    assert shown == [RED, BLUE]


@pytest.mark.parametrize(
    ("frames", "message"),
    [([], "takes the path of a file or an array of frames, not list"), ([[1], [2]], "An image cannot have the shape")],
)
def test_a_list_that_holds_no_frames_is_no_video(frames: Any, message: str, tmp_path: Path) -> None:
    """An empty one, and one of numbers."""
    with pytest.raises(OptionError, match=message):
        Video(frames).save(tmp_path, "x")


@pytest.mark.parametrize(
    "histogram",
    [
        lambda: Histogram(np.histogram([0, 1, 1, 4], bins=2)),
        lambda: Histogram(np_histogram=np.histogram([0, 1, 1, 4], bins=2)),
        lambda: Histogram(np_histogram=([3, 1], [0, 2, 4])),
        lambda: Histogram(torch.histogram(torch.tensor([0.0, 1.0, 1.0, 4.0]), bins=2)),
    ],
)
def test_what_a_library_has_counted_is_a_histogram(histogram: Any, tmp_path: Path) -> None:
    """0, 1 and 1 are in the first half of 0..4, 4 in the second."""
    content = json.loads(histogram().save(tmp_path, "x").read_text())

    assert content == {"counts": [3, 1], "edges": [0, 2, 4]}


@pytest.mark.parametrize("kind", [Image, lambda data: Audio(data, 16_000)], ids=["image", "audio"])
@pytest.mark.parametrize("given", [lambda data: data, io.BytesIO], ids=["bytes", "file"])
def test_the_content_of_a_file_is_refused_with_what_to_do(kind: Any, given: Any, tmp_path: Path) -> None:
    """As a request or a dataset holds it: its shape was named, or an attribute that it lacks."""
    content = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(content, "PNG")

    with pytest.raises(OptionError, match=r"not the content of a file. Give its path, or decode it first: "):
        kind(given(content.getvalue())).save(tmp_path, "x")


@pytest.mark.parametrize("columns", ["ab", ["a", "b"], np.array(["a", "b"])], ids=["text", "list", "array"])
def test_texts_are_no_rows_of_a_table(columns: Any, tmp_path: Path) -> None:
    """`wandb.Table(columns, data)` has them in this order: each name became a row of letters."""
    with pytest.raises(OptionError, match=r"Row 0 of the table is the text 'a'\. Give rows first, then columns"):
        Table(columns, ["loss"]).save(tmp_path, "x")


FRAME = pandas.DataFrame({"n": [1, 2], "x": [0.5, 1.5]})
INDEXED = {
    "numbers": (FRAME, "n,x\n1,0.5\n2,1.5\n"),
    "a part": (FRAME[FRAME["n"] > 1], "n,x\n2,1.5\n"),
    "names": (FRAME.set_axis(["cat", "dog"]), "index,n,x\ncat,1,0.5\ndog,2,1.5\n"),
    "a name": (FRAME.set_index("n"), "n,x\n1,0.5\n2,1.5\n"),
    "two": (FRAME.assign(k=["a", "b"]).set_index(["k", "n"]), "k,n,x\na,1,0.5\nb,2,1.5\n"),
    "twice": (FRAME.set_axis(pandas.Index(["u", "v"], name="n")), "n,n,x\nu,1,0.5\nv,2,1.5\n"),
}


@pytest.mark.parametrize("which", INDEXED)
def test_an_index_of_pandas_that_says_something_is_kept(which: str, tmp_path: Path) -> None:
    """The labels of `describe`, `corr` and `groupby`, and of a confusion matrix; not the numbers of the rows."""
    frame, expected = INDEXED[which]

    assert Table(frame).save(tmp_path, "x").read_text(encoding="utf-8") == expected


def test_chosen_columns_may_be_of_the_index(tmp_path: Path) -> None:
    """And are the only ones."""
    frame = FRAME.set_axis(pandas.Index(["u", "v"], name="k"))

    assert Table(frame, columns=["x"]).save(tmp_path, "1").read_text(encoding="utf-8") == "x\n0.5\n1.5\n"
    assert Table(frame, columns=["x", "k"]).save(tmp_path, "2").read_text(encoding="utf-8") == "x,k\n0.5,u\n1.5,v\n"


def test_a_medium_in_a_cell_is_named(tmp_path: Path) -> None:
    """Not written out, pixel by pixel; it can be logged under a key of its own."""
    cells = [Image(np.zeros((8, 8)), caption="a cat"), Histogram([1]), Pillow.new("RGB", (8, 8))]

    text = Table([[cell] for cell in cells], columns=["x"]).save(tmp_path, "x").read_text(encoding="utf-8")

    assert text == "x\n<Image: a cat>\n<Histogram>\n<Image>\n"


@pytest.mark.parametrize(
    ("given", "left_out"),
    [({"masks": {"pred": {"mask_data": np.zeros((8, 8))}}, "boxes": {}}, "masks, boxes"), ({"caption": "a cat"}, "")],
)
def test_masks_and_boxes_of_a_picture_are_left_out(given: Any, left_out: str, tmp_path: Path) -> None:
    """They raised at the first validation of a long training; the picture is kept, and says what it lacks."""
    image = Image(pixels(RED), **given)

    assert image.left_out == left_out
    assert image.save(tmp_path, "x").suffix == ".png"


def test_a_histogram_may_have_a_number_of_bins_by_another_name(tmp_path: Path) -> None:
    """As `wandb.Histogram(…, num_bins=2)`: 0, 1 and 1 are in the first half of 0..4, 4 in the second."""
    content = json.loads(Histogram([0, 1, 1, 4], num_bins=2).save(tmp_path, "x").read_text())

    assert content == {"counts": [3, 1], "edges": [0, 2, 4]}
