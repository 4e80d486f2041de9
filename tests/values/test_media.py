"""Images, sounds, tables and the rest become files that other programs read."""

import csv
import json
import math
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from runcast.core.errors import OptionError
from runcast.values.media.kinds import Audio, Figure, Histogram, Image, Table, Text, Video
from runcast.values.media.recognition import to_media

PIL_Image = pytest.importorskip("PIL.Image")
RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
PICTURE = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)


def look(path: Path) -> list[Any]:
    """Read a picture's pixels with somebody else's decoder."""
    with PIL_Image.open(path) as image:
        image.load()
        return np.asarray(image).tolist()  # type: ignore[no-any-return]


def listen(path: Path) -> tuple[int, list[list[int]]]:
    """Read a sound's rate and samples."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return file.getframerate(), samples.tolist()


# Images


@pytest.mark.parametrize(
    "data",
    [
        PICTURE,
        PICTURE.astype(np.int64),
        PICTURE / 255,
        (PICTURE / 255).astype(np.float16),
        np.moveaxis(PICTURE, 2, 0),
        PICTURE[::-1][::-1],
        np.asfortranarray(PICTURE),
        PICTURE.tolist(),
    ],
    ids=["uint8", "int64", "float64", "float16", "channels first", "strided", "fortran", "list"],
)
def test_a_picture_shows_its_pixels(data: Any, tmp_path: Path) -> None:
    """Whatever the type and the order of the axes, each pixel has its colour."""
    path = Image(data).save(tmp_path, "x")

    assert path == tmp_path / "x.png"
    assert look(path) == [[RED, GREEN], [BLUE, WHITE]]


def test_a_grey_picture_needs_no_channels(tmp_path: Path) -> None:
    """[H, W], [H, W, 1] and [1, H, W] are grey; bools are black and white."""
    grey = np.array([[0, 100], [200, 255]], np.uint8)

    assert look(Image(grey).save(tmp_path, "a")) == [[0, 100], [200, 255]]
    assert look(Image(grey[:, :, None]).save(tmp_path, "b")) == [[0, 100], [200, 255]]
    assert look(Image(grey[None]).save(tmp_path, "c")) == [[0, 100], [200, 255]]
    assert look(Image(grey > 150).save(tmp_path, "d")) == [[0, 0], [255, 255]]


def test_a_picture_may_be_transparent(tmp_path: Path) -> None:
    """Four channels are red, green, blue and opacity."""
    data = np.array([[[1, 2, 3, 4], [5, 6, 7, 8]]], np.uint8)

    assert look(Image(data).save(tmp_path, "x")) == [[[1, 2, 3, 4], [5, 6, 7, 8]]]


def test_floats_are_rounded_and_cut_at_the_edges(tmp_path: Path) -> None:
    """A network's output slightly outside 0..1 is shown as black or white, as are NaN and the infinities."""
    data = np.array([[0.0, 1.0, 0.5], [-0.2, 1.2, np.nan], [np.inf, -np.inf, 0.002]])

    assert look(Image(data).save(tmp_path, "x")) == [[0, 255, 128], [0, 255, 0], [255, 0, 1]]


def test_a_tensor_has_its_channels_first(tmp_path: Path) -> None:
    """A tensor of shape [3, H, 3] is read as PyTorch means it; gradients and bfloat16 are no obstacle."""
    torch = pytest.importorskip("torch")
    data = torch.zeros(3, 2, 3)
    data[0] = 1

    assert look(Image(data).save(tmp_path, "a")) == [[RED, RED, RED], [RED, RED, RED]]
    assert look(Image(data.bfloat16().requires_grad_()).save(tmp_path, "b")) == [[RED, RED, RED], [RED, RED, RED]]
    assert look(Image(torch.full((2, 2), 7, dtype=torch.uint8)).save(tmp_path, "c")) == [[7, 7], [7, 7]]


@pytest.mark.gpu
def test_a_picture_may_be_on_a_device(tmp_path: Path) -> None:
    """A tensor on a device is copied to the host."""
    torch = pytest.importorskip("torch")

    assert look(Image(torch.ones(3, 1, 1, device="cuda")).save(tmp_path, "x")) == [[WHITE]]


def test_a_pil_image_is_taken_as_it_is(tmp_path: Path) -> None:
    """Also in a colour space that PNG does not have."""
    image = PIL_Image.fromarray(PICTURE)

    assert look(Image(image).save(tmp_path, "a")) == [[RED, GREEN], [BLUE, WHITE]]
    assert look(Image(image.convert("CMYK")).save(tmp_path, "b"))[0][0] == RED


def test_a_pil_image_of_more_than_8_bits_is_not_cut(tmp_path: Path) -> None:
    """16 bits are kept, floats are those of an array, and what fits neither is refused with advice."""
    deep = PIL_Image.fromarray(np.array([[0, 40_000]], np.uint16))
    floats = PIL_Image.fromarray(np.array([[0.0, 1.0]], np.float32))
    large = PIL_Image.fromarray(np.array([[0, 40_000]], np.int32))

    with PIL_Image.open(Image(deep).save(tmp_path, "deep")) as image:
        assert image.getextrema() == (0, 40_000)
    with PIL_Image.open(Image(floats).save(tmp_path, "floats")) as image:
        assert image.getextrema() == (0, 255)
    with pytest.raises(OptionError, match=r"values from 0 to 40000\. Scale it"):
        Image(large).save(tmp_path, "large")


def test_an_image_file_is_copied(tmp_path: Path) -> None:
    """A path, as a text or a Path, is copied byte by byte and keeps its kind of file."""
    source = tmp_path / "picture.JPEG"
    source.write_bytes(b"bytes")

    assert Image(source).save(tmp_path, "a").read_bytes() == b"bytes"
    assert Image(str(source)).save(tmp_path, "b") == tmp_path / "b.jpeg"


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2), (2, 3, 4, 3), (0, 2), (2, 0, 3), (5, 2, 7)])
def test_an_image_of_a_wrong_shape_is_refused_when_it_is_saved(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Making it raises nothing, because that happens in a training loop; saving it says which shapes there are."""
    with pytest.raises(OptionError, match=r"Use \[H, W\], \[H, W, C\] or \[C, H, W\]"):
        Image(np.zeros(shape)).save(tmp_path, "x")


def test_a_batch_of_images_is_refused_with_advice(tmp_path: Path) -> None:
    """Who logs a batch is told to log a few of its images."""
    with pytest.raises(OptionError, match=r"\[runcast.Image\(x\) for x in batch\[:8\]\]"):
        Image(np.zeros((8, 3, 32, 32))).save(tmp_path, "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([[-1.0, 1.0]]), "values from -1 to 1. Scale it"),
        (np.array([[0.0, 255.0]]), "values from 0 to 255. Scale it"),
        (np.array([[0, 256]]), "values from 0 to 256. Scale it"),
        (np.array([[-1, 5]]), "values from -1 to 5. Scale it"),
        (np.array([[1j]]), "cannot be of complex128"),
        (np.array([["a"]]), "cannot be of <U1"),
        ([[1, 2], [3]], "The image cannot be read"),
        (object(), "image cannot"),
    ],
)
def test_an_image_of_wrong_values_is_refused(data: Any, message: str, tmp_path: Path) -> None:
    """A picture in -1..1 or of something else than numbers would be shown wrongly: saving it says so."""
    with pytest.raises(OptionError, match=message):
        Image(data).save(tmp_path, "x")

    assert list(tmp_path.glob("x*")) == []


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1))
def test_any_pixels_can_be_read_back(height: int, width: int, channels: int, seed: int) -> None:
    """Every byte of every pixel survives, as another decoder sees it."""
    import io

    from runcast.values.media.rendering import png

    data = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)

    with PIL_Image.open(io.BytesIO(png(data))) as image:
        pixels = np.asarray(image).reshape(height, width, channels)

    assert pixels.tolist() == data.tolist()


def test_a_figure_is_drawn_and_stays_open(tmp_path: Path) -> None:
    """A Matplotlib figure becomes a picture of its own size; closing it is the user's."""
    figure_module = pytest.importorskip("matplotlib.figure")
    figure = figure_module.Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 2])

    path = Figure(figure, caption="a line").save(tmp_path, "x")

    with PIL_Image.open(path) as image:
        assert image.size == (100, 50)
    assert len(figure.axes) == 1
    assert Figure(figure).kind == "image"


def test_pyplot_and_axes_stand_for_their_figure(tmp_path: Path) -> None:
    """As a figure, as an image, and bare, which other libraries have made a habit."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots(figsize=(2, 1), dpi=50)

    for name, drawn in {"pyplot": pyplot, "axes": axes, "figure": figure}.items():
        for media in (Figure(drawn), Image(drawn), to_media(drawn)):
            assert media is not None
            with PIL_Image.open(media.save(tmp_path, name)) as image:
                assert image.size == (100, 50)
    pyplot.close(figure)


def test_what_is_no_figure_is_refused(tmp_path: Path) -> None:
    """An array is not a figure; the error names what takes arrays."""
    with pytest.raises(OptionError, match="For pixels use Image"):
        Figure(PICTURE).save(tmp_path, "x")


def test_a_figure_that_cannot_be_drawn_is_our_error(tmp_path: Path) -> None:
    """What a foreign library raises while it draws reaches the caller as an error that logging expects."""

    class Broken:
        def savefig(self, path: Path, format: str) -> None:
            raise RuntimeError("no latex")

    with pytest.raises(OptionError, match="RuntimeError: no latex"):
        Figure(Broken()).save(tmp_path, "x")


# Sounds


def test_a_sound_keeps_its_samples_and_its_rate(tmp_path: Path) -> None:
    """Floats in -1..1 become 16-bit samples, those outside are cut; int16 stays as it is."""
    floats = Audio(np.array([0.0, 1.0, -1.0, 0.5, 2.0, np.nan]), 16_000).save(tmp_path, "a")
    integers = Audio(np.array([0, 32767, -32768], np.int16), 8_000).save(tmp_path, "b")

    assert floats == tmp_path / "a.wav"
    assert listen(floats) == (16_000, [[0], [32767], [-32767], [16384], [32767], [0]])
    assert listen(integers) == (8_000, [[0], [32767], [-32768]])


def test_a_stereo_sound_has_its_channels_on_either_axis(tmp_path: Path) -> None:
    """[N, 2] and [2, N] are the same sound."""
    data = np.array([[1, 2], [3, 4], [5, 6]], np.int16)

    assert listen(Audio(data, 8_000).save(tmp_path, "a")) == (8_000, [[1, 2], [3, 4], [5, 6]])
    assert listen(Audio(data.T, 8_000).save(tmp_path, "b")) == (8_000, [[1, 2], [3, 4], [5, 6]])
    assert listen(Audio([0.0, 1.0], 8_000).save(tmp_path, "c")) == (8_000, [[0], [32767]])


def test_a_sound_file_is_copied_and_needs_no_rate(tmp_path: Path) -> None:
    """A path is copied byte by byte."""
    source = tmp_path / "sound.mp3"
    source.write_bytes(b"bytes")

    path = Audio(source).save(tmp_path, "a")

    assert path == tmp_path / "a.mp3"
    assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize("shape", [(), (0,), (5, 3), (1, 2, 3)])
def test_a_sound_of_a_wrong_shape_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    """The error says which shapes there are."""
    with pytest.raises(OptionError, match=r"Use \[N\], \[N, C\] or \[C, N\]"):
        Audio(np.zeros(shape), 8_000).save(tmp_path, "x")


@pytest.mark.parametrize("rate", [None, 0, -1, "8000"])
def test_a_sound_without_a_rate_is_refused(rate: Any, tmp_path: Path) -> None:
    """Samples alone are no sound."""
    with pytest.raises(OptionError, match="sample_rate"):
        Audio(np.zeros(5), rate).save(tmp_path, "x")


def test_a_sound_of_wrong_values_is_refused(tmp_path: Path) -> None:
    """32-bit samples would be cut without a word: they are refused instead."""
    with pytest.raises(OptionError, match="cannot be of int32"):
        Audio(np.zeros(5, np.int32), 8_000).save(tmp_path, "x")


# Files


@pytest.mark.parametrize("kind", [Image, Audio, Video])
def test_a_missing_file_is_refused_when_it_is_saved(kind: Any, tmp_path: Path) -> None:
    """A wrong path, also that of a folder, is named."""
    with pytest.raises(OptionError, match="There is no file"):
        kind(tmp_path / "nothing.mp4").save(tmp_path, "x")
    with pytest.raises(OptionError, match="There is no file"):
        kind(tmp_path).save(tmp_path, "x")


def test_a_video_is_copied(tmp_path: Path) -> None:
    """A video is a file already."""
    source = tmp_path / "film.mp4"
    source.write_bytes(b"bytes")

    path = Video(source).save(tmp_path, "x")

    assert path == tmp_path / "x.mp4"
    assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 4, 6, 3), (3, 3, 4, 6)])
def test_frames_become_a_video(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Frames, with channels on either side or without, are a GIF of that size and rate."""
    frames = np.arange(math.prod(shape)).reshape(shape).astype(np.uint8)

    path = Video(frames, fps=5).save(tmp_path, "x")

    with PIL_Image.open(path) as film:
        assert (film.format, film.size, film.n_frames, film.info["duration"]) == ("GIF", (6, 4), 3, 200)


@pytest.mark.parametrize("fps", [np.int64(5), np.float32(5), Fraction(10, 2)], ids=repr)
def test_a_frame_rate_may_be_a_number_of_any_library(fps: Any, tmp_path: Path) -> None:
    """PyAV, for one, says it as a fraction."""
    path = Video(np.arange(48, dtype=np.uint8).reshape(2, 4, 6), fps=fps).save(tmp_path, "x")

    with PIL_Image.open(path) as film:
        assert film.info["duration"] == 200


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (Video(5), "the path of a file or an array of frames, not int"),
        (Video(np.zeros((4, 4))), "A video cannot have the shape"),
        (Video(np.zeros((2, 4, 4)), fps=0), "fps=0 must be frames per second"),
    ],
)
def test_what_is_no_video_is_refused(video: Video, message: str, tmp_path: Path) -> None:
    """Making it raises nothing; saving it says what a video is."""
    with pytest.raises(OptionError, match=message):
        video.save(tmp_path, "x")


def test_a_text_is_kept_to_the_letter(tmp_path: Path) -> None:
    """A text is UTF-8 with the line ends that it had; a lone surrogate is written as its escape."""
    path = Text("é\r\nλ\ud800").save(tmp_path, "x")

    assert path == tmp_path / "x.txt"
    assert path.read_bytes() == "é\r\nλ\\ud800".encode()


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """A number is logged as a number."""
    with pytest.raises(OptionError, match="takes a str, not int"):
        Text(5).save(tmp_path, "x")  # type: ignore[arg-type]


# Tables

ROWS = [["step", "loss"], ["1", "0.5"], ["2", "0.25"]]


def read(path: Path) -> list[list[str]]:
    """Read a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    "table",
    [
        Table([[1, 0.5], [2, 0.25]], ["step", "loss"]),
        Table(rows=((1, 0.5), (2, 0.25)), columns=("step", "loss")),
        Table({"step": [1, 2], "loss": np.array([0.5, 0.25])}),
        Table([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]),
        Table([{"loss": 0.5, "step": 1, "x": 0}, {"loss": 0.25, "step": 2}], columns=["step", "loss"]),
    ],
    ids=["rows", "tuples", "columns", "mappings", "chosen"],
)
def test_a_table_is_csv_with_a_header(table: Table, tmp_path: Path) -> None:
    """Rows, columns and mappings are the same table."""
    path = table.save(tmp_path, "x")

    assert path == tmp_path / "x.csv"
    assert read(path) == ROWS


def test_a_data_frame_and_an_array_are_tables(tmp_path: Path) -> None:
    """A pandas frame brings its columns, an array needs them."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"step": [1, 2], "loss": [0.5, 0.25]})

    assert read(Table(frame).save(tmp_path, "a")) == ROWS
    assert read(Table(frame, columns=["loss"]).save(tmp_path, "b")) == [["loss"], ["0.5"], ["0.25"]]
    assert read(Table(np.array([[1, 2], [3, 4]]), ["x", "y"]).save(tmp_path, "c")) == [
        ["x", "y"],
        ["1", "2"],
        ["3", "4"],
    ]


def test_a_cell_may_hold_anything(tmp_path: Path) -> None:
    """Commas, quotes and lines are kept, None is empty, what is no scalar is JSON or described."""
    cells = [
        'a,"b"\nc',
        None,
        float("nan"),
        True,
        [1, {"x": 2}],
        np.float32(0.5),
        np.zeros((2, 2)),
        np.zeros((101, 100)),
        Path("/a"),
        "\ud800",
    ]

    path = Table([cells], columns=list("abcdefghij")).save(tmp_path, "x")

    assert read(path)[1] == [
        'a,"b"\nc',
        "",
        "NaN",
        "True",
        '[1,{"x":2}]',
        "0.5",
        "[[0.0,0.0],[0.0,0.0]]",
        "ndarray(float64, [101, 100])",
        "/a",
        "\\ud800",
    ]


def test_pandas_reads_a_table_as_it_was(tmp_path: Path) -> None:
    """Numbers come back as the numbers that they were."""
    pandas = pytest.importorskip("pandas")

    frame = pandas.read_csv(Table({"n": [1, 2], "x": [0.1, 1e-300], "s": ["a", "b"]}).save(tmp_path, "x"))

    assert frame.to_dict("list") == {"n": [1, 2], "x": [0.1, 1e-300], "s": ["a", "b"]}


def test_an_empty_table_is_its_header(tmp_path: Path) -> None:
    """No rows yet is no error."""
    assert read(Table([], columns=["a", "b"]).save(tmp_path, "x")) == [["a", "b"]]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([[1, 2]], None, "have no names"),
        ([[1, 2], [3]], ["a", "b"], "Row 1 of the table has 1 cell for 2 columns: a, b"),
        ({"a": [1], "b": [1, 2]}, None, r"differ in length \(a: 1, b: 2\)"),
        ({"a": [1]}, ["z"], "KeyError: 'z'"),
        (5, ["a"], "The table cannot be read"),
        ([1, 2], ["a"], "The table cannot be read"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_when_it_is_saved(
    rows: Any, columns: Any, message: str, tmp_path: Path
) -> None:
    """The error says which row or column does not fit."""
    with pytest.raises(OptionError, match=message):
        Table(rows, columns).save(tmp_path, "x")


def test_a_table_can_be_made_as_in_wandb(tmp_path: Path) -> None:
    """Its rows may be called data or dataframe, and be added one by one; one of a wrong length is refused."""
    pandas = pytest.importorskip("pandas")
    table = Table(columns=["a", "b"])
    table.add_data(1, "x")
    table.add_data(2, "y")
    wrong = Table(columns=["a", "b"])
    wrong.add_data(1)

    assert read(table.save(tmp_path, "1")) == [["a", "b"], ["1", "x"], ["2", "y"]]
    assert read(Table(columns=["a"], data=[[1]]).save(tmp_path, "2")) == [["a"], ["1"]]
    assert read(Table(dataframe=pandas.DataFrame({"a": [1]})).save(tmp_path, "3")) == [["a"], ["1"]]
    with pytest.raises(OptionError, match="Row 0 of the table has 1 cell for 2 columns"):
        wrong.save(tmp_path, "4")
    with pytest.raises(OptionError, match="once"):
        Table([[1]], ["a"], data=[[1]]).save(tmp_path, "5")


def test_a_table_is_a_copy(tmp_path: Path) -> None:
    """Rows that the user appends afterwards are not in it."""
    rows = [[1], [2]]
    table = Table(rows, ["a"])
    rows.append([3])
    rows[0].append(4)

    assert read(table.save(tmp_path, "x")) == [["a"], ["1"], ["2"]]


# Histograms


def test_values_are_counted_in_equal_bins(tmp_path: Path) -> None:
    """There is one more edge than counts, and every value is counted once."""
    path = Histogram([0, 1, 1, 2, 3, 4], bins=4).save(tmp_path, "x")

    assert path == tmp_path / "x.json"
    assert json.loads(path.read_text()) == {"counts": [1, 2, 1, 2], "edges": [0.0, 1.0, 2.0, 3.0, 4.0]}


def test_values_that_are_not_finite_are_counted_apart(tmp_path: Path) -> None:
    """A gradient with a NaN in it still has a histogram, which says how many there are."""
    content = json.loads(Histogram([0.0, 1.0, np.nan, np.inf, -np.inf], bins=1).save(tmp_path, "x").read_text())

    assert content == {"counts": [2], "edges": [0.0, 1.0], "nonfinite": 3}


@pytest.mark.parametrize(
    "values",
    [
        [],
        [5.0],
        [float("nan")],
        [-1.7e308, 1.7e308],
        [1e16, 1e16 + 2],
        [5e-324, 1e-323],
        np.zeros((3, 4, 5), np.int8),
        [True, False],
        np.arange(10, dtype=np.float16),
    ],
    ids=["empty", "one", "nan", "widest", "narrow", "tiny", "zeros", "bools", "float16"],
)
def test_any_numbers_have_a_histogram(values: Any, tmp_path: Path) -> None:
    """No range is too wide or too narrow, and nothing is no error either."""
    content = json.loads(Histogram(values, bins=8).save(tmp_path, "x").read_text())

    assert len(content["counts"]) == 8
    assert len(content["edges"]) == 9
    assert content["edges"] == sorted(content["edges"])
    assert sum(content["counts"]) + content.get("nonfinite", 0) == np.size(values)


def test_a_tensor_has_a_histogram(tmp_path: Path) -> None:
    """Of any shape and type; there are 64 bins unless told otherwise."""
    torch = pytest.importorskip("torch")

    content = json.loads(Histogram(torch.ones(3, 5, dtype=torch.bfloat16)).save(tmp_path, "x").read_text())

    assert len(content["counts"]) == 64
    assert sum(content["counts"]) == 15


def test_counts_that_are_known_are_kept(tmp_path: Path) -> None:
    """Who has counted already gives counts and edges, as lists, arrays or tensors."""
    path = Histogram(counts=np.array([1, 2]), edges=[0, 0.5, 1], caption="grad").save(tmp_path, "x")

    assert json.loads(path.read_text()) == {"counts": [1, 2], "edges": [0, 0.5, 1]}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"values": [1], "counts": [1], "edges": [0, 1]},
        {"counts": [1]},
        {"counts": [1], "edges": [0]},
        {"counts": [-1], "edges": [0, 1]},
        {"counts": [1], "edges": [1, 0]},
        {"counts": [1], "edges": [0, float("inf")]},
        {"counts": ["a"], "edges": [0, 1]},
        {"values": [1], "bins": 0},
        {"values": [1j]},
        {"values": ["a"]},
    ],
    ids=str,
)
def test_a_histogram_that_makes_no_sense_is_refused(arguments: Any, tmp_path: Path) -> None:
    """Either values, or counts with rising edges around each."""
    with pytest.raises(OptionError):
        Histogram(**arguments).save(tmp_path, "x")


# All of them


@pytest.mark.parametrize(
    ("media", "kind"),
    [
        (Image(PICTURE, caption="c"), "image"),
        (Audio(np.zeros(5), 8_000, caption="c"), "audio"),
        (Text("a", caption="c"), "text"),
        (Table([], ["a"], caption="c"), "table"),
        (Histogram([1], caption="c"), "histogram"),
    ],
)
def test_each_knows_its_kind_and_caption_and_cannot_be_changed(media: Any, kind: str) -> None:
    """What is logged is what was made."""
    assert media.kind == kind
    assert media.caption == "c"
    assert to_media(media) is media
    with pytest.raises(AttributeError):
        media.caption = "d"


def test_a_caption_is_a_text(tmp_path: Path) -> None:
    """A number or a tensor as caption is refused."""
    with pytest.raises(OptionError, match="caption=3 must be a text"):
        Image(PICTURE, caption=3).save(tmp_path, "x")  # type: ignore[arg-type]


def test_nothing_is_imported_for_media() -> None:
    """Until an array is saved, neither NumPy nor an imaging library is loaded; a text or a table never needs them."""
    script = (
        "import sys, pathlib, tempfile; from runcast.values.media.kinds import *; from runcast.values.media.recognition import to_media; folder = pathlib.Path(tempfile.mkdtemp()); "
        "Text('a').save(folder, 'a'); Table([[1]], ['a']).save(folder, 'b'); to_media(1); "
        "Histogram(counts=[1], edges=[0, 1]).save(folder, 'c'); "
        "print(sorted({'numpy', 'torch', 'PIL', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )

    output = subprocess.run([sys.executable, "-c", script], env={}, capture_output=True, text=True, check=True).stdout

    assert output == "[]\n"


@pytest.mark.parametrize("rate", [np.int64(16000), np.float32(16000), 16000.0])
def test_a_sample_rate_may_be_a_number_of_any_library(rate: Any, tmp_path: Path) -> None:
    """16 kHz is 16 kHz, as NumPy writes it, too."""
    path = Audio(np.zeros(8, np.int16), rate).save(tmp_path, "sound")

    with wave.open(str(path), "rb") as file:
        assert file.getframerate() == 16000


def test_a_number_of_bins_may_be_numpys() -> None:
    """As `len` of an array is computed by NumPy now and then."""
    assert Histogram([1.0, 2.0], bins=np.int64(8)).bins == 8  # type: ignore[arg-type]
