"""One record that cannot be delivered never holds up the others, in no tracker, whatever the file is."""

import base64
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import runcast
from runcast.journal.layout import RunDirectory
from runcast.journal.state import load_state
from tests.second_rank import EACH

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="4" height="4"/></svg>'


def odd_files(folder: Path) -> list[runcast.Image | runcast.Audio | runcast.Video]:
    """Make files of every kind of content that Pillow, or a service, may not take."""
    for name in ("drawing.svg", "drawing.png"):
        (folder / name).write_bytes(SVG)
    for name in ("empty.png", "empty.jpg", "empty", "empty.wav", "empty.mp4"):
        (folder / name).write_bytes(b"")
    for name in ("text.png", "text.wav", "text.mp4", "text.xyz"):
        (folder / name).write_bytes("größe".encode("latin-1"))
    pixels = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
    rgb = Pillow.fromarray(pixels)
    rgb.save(folder / "icon.ico")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("P").save(folder / "palette.png")
    rgb.convert("1").save(folder / "one-bit.png")
    Pillow.fromarray(pixels[:, :, 0].astype(np.uint16) * 256).save(folder / "16-bit.png")
    Pillow.fromarray(pixels[:, :, 0].astype(np.float32)).save(folder / "float.tiff")
    rgb.save(folder / "moving.gif", save_all=True, append_images=[rgb.rotate(90)])
    rgb.save(folder / "still.webp")
    rgb.save(folder / "whole.png")
    rgb.save(folder / "jpeg.png", format="JPEG")
    (folder / "truncated.png").write_bytes((folder / "whole.png").read_bytes()[:500])
    (folder / "truncated.jpg").write_bytes((folder / "cmyk.jpg").read_bytes()[:500])
    images = [path for path in sorted(folder.iterdir()) if path.suffix not in (".wav", ".mp4")]
    return [
        *map(runcast.Image, images),
        *map(runcast.Audio, sorted(folder.glob("*.wav"))),
        *map(runcast.Video, [*sorted(folder.glob("*.mp4")), folder / "text.xyz", folder / "moving.gif"]),
    ]


NEITHER = ("codecarbon", "system", "dagshub", "flyte")  # they hold no media, or need a server or a task


@pytest.mark.parametrize("tracker", [one for one in EACH if one.values[0] not in NEITHER])
def test_a_file_that_cannot_be_shown_holds_up_nothing(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every point is there and the run is closed; each file is there, or counted as refused with a reason."""
    if importlib.util.find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    (tmp_path / "files").mkdir()
    media = odd_files(tmp_path / "files")
    run = runcast.init("odd", report_to=tracker, dir=tmp_path / "runs", offline=True)

    for step, each in enumerate(media):
        run.log({f"sample{step}": each, "loss": step / 4}, step=step)
    run.finish(timeout_s=600)

    state = load_state(RunDirectory(run.dir).tracker(tracker))
    assert state is not None
    assert (state.phase, state.points) == ("finished", len(media)), state.error
    assert sum(state.refused.values()) < len(media) - 8, state.refused
    assert all(reason.startswith("media: ") for reason in state.refused), state.refused
    if tracker == "wandb":  # which keeps what it cannot show in a page
        assert state.refused == {}
        pages = [path.read_text() for path in run.dir.rglob("*.html")]
        assert [page.count(base64.b64encode(SVG).decode()) for page in pages].count(2) == 2
