"""Makes torchvision importable beside a CPU build of torch, and Ultralytics with it; there is no CPU build of torchvision.

    PYTHONPATH=tests/adapters:.venv/vision python -m torchvision_on_cpu SCRIPT [ARGUMENT …]

Its compiled operators cannot be loaded there, and its import fails as it describes two of them to torch. Those two are
defined here before it is imported; non-maximum suppression, which YOLO needs, is written in plain torch.
"""

import torch

LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # lives as long as this module


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices of the boxes [N, 4] that no better one overlaps by more than the threshold, the best first."""
    kept = []
    left, top, right, bottom = boxes.unbind(1)
    areas = (right - left) * (bottom - top)
    order = scores.argsort(descending=True, stable=True)
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        width = (right[order].minimum(right[best]) - left[order].maximum(left[best])).clamp(min=0)
        height = (bottom[order].minimum(bottom[best]) - top[order].maximum(top[best])).clamp(min=0)
        overlap = width * height
        order = order[overlap <= iou_threshold * (areas[best] + areas[order] - overlap)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long, device=boxes.device)


for name in ("nms", "qnms"):
    LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.impl("nms", nms, "CPU")

import torchvision.extension  # noqa: E402 - only now it can be imported

torchvision.extension._has_ops = lambda: True

if __name__ == "__main__":
    import runpy
    import sys

    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
