"""Take the docs' pictures of trackers' own pages, on a run of the demo: `make screenshots`, which needs Chromium."""

import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from runcast.history.finding import list_runs
from runcast.history.serving import find_page
from runcast.journal.state import load_state
from runcast.trainer.demo import train_demo

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")
WAIT_S = 120


def main() -> None:
    """Train the demo with the trackers that have a page for local runs, and take a picture of each page."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "runs")
        run = train_demo(report_to="mlflow,tensorboard", dir=root, epochs=20, progress=False)
        run.finish()
        (directory,) = list_runs(root)
        state = load_state(directory.tracker("mlflow"))
        assert state is not None
        places = {
            "tensorboard": "/?smoothing=0#timeseries",
            "mlflow": f"/#/experiments/1/runs/{state.ids['run_id']}?workflowType=machine_learning",
        }
        for name, place in places.items():
            page = find_page([directory], name, None)
            assert page.command is not None
            server = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {page.command}"], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
            )
            try:
                take(f"{page.address}{place}", PICTURES / f"{name}.png", Path(folder, "browser"))
            finally:
                server.terminate()
                server.wait()


def take(address: str, picture: Path, profile: Path) -> None:
    """Wait for a page, and take its picture when it has loaded its points."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - a server of our own
            break
        except OSError:
            time.sleep(1)
    time.sleep(10)  # until the server has read the run
    options = ("--window-size=1360,860", "--virtual-time-budget=40000", f"--user-data-dir={profile}")
    subprocess.run([*CHROMIUM, *options, f"--screenshot={picture}", address], check=True, capture_output=True)


if __name__ == "__main__":
    main()
