"""YOLO on squares that it draws itself.

It reports the losses and the validation of each epoch, the best weights, the plots, and a validation and an export
after the training: one run on every tracker, and nothing twice.

Run it with: python examples/ultralytics_yolo.py

In a clone of this repository, where Ultralytics is in a folder of its own:

    PYTHONPATH=tests/adapters:.venv/vision .venv/bin/python -m torchvision_on_cpu examples/ultralytics_yolo.py
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

try:
    from ultralytics import YOLO
except ImportError as error:
    sys.exit(f"{error}. Install it with: pip install ultralytics\n\n{__doc__}")

from runcast.adapters.ultralytics import attach

SIZE = 64


def draw(folder: Path, number: int = 12) -> Path:
    """Draw grey pictures with one coloured square each, and say where they are."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            side = int(rng.integers(16, 32))
            left, top = (int(place) for place in rng.integers(0, SIZE - side, 2))
            picture = np.full((SIZE, SIZE, 3), 127, np.uint8)
            picture[top : top + side, left : left + side] = rng.integers(0, 255, 3)
            Image.fromarray(picture).save(folder / "images" / split / f"{index}.png")
            box = f"0 {(left + side / 2) / SIZE} {(top + side / 2) / SIZE} {side / SIZE} {side / SIZE}\n"
            (folder / "labels" / split / f"{index}.txt").write_text(box)
    file = folder / "squares.yaml"
    file.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: [square]\n")
    return file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--plots", type=int, default=1)
    parser.add_argument("--report_to", default="all")
    arguments = parser.parse_args()
    folder = Path("out/squares").resolve()
    model = YOLO("yolo11n.yaml")  # without pretrained weights: nothing is downloaded
    with attach(model, arguments.report_to):
        common = {"data": str(draw(folder)), "imgsz": SIZE, "project": str(folder), "verbose": False}
        shown = {**common, "plots": bool(arguments.plots)}
        model.train(**shown, epochs=arguments.epochs, batch=4, nbs=4, amp=False, workers=0, device="cpu", name="train")
        found = model.val(**shown, name="val")
        model.export(format="torchscript", imgsz=SIZE)
    print({"eval/mAP50": round(float(found.box.map50), 4)})


if __name__ == "__main__":
    main()
