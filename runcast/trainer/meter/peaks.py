"""How fast devices are, at most."""

from collections.abc import Mapping

import torch
from torch import nn

from runcast.trainer.model.device import uses_tf32
from runcast.trainer.settings.arguments import TrainingArguments

# Dense peaks in TFLOP/s: (bfloat16 and float16 with float32 sums, TF32, float32), without sparsity. As in the makers'
# data sheets (NVIDIA's of A100, A10, A30, A40, H100, H200, B200, L4, L40, L40S, T4, V100; AMD's of MI300X) and NVIDIA's
# architecture papers on Ampere, Ada and Blackwell for GeForce; A10G as AWS gives it. State of 2026-11. The first entry
# whose words are all in the device's name counts, so that the special comes before the general.
PEAKS: Mapping[str, tuple[float, float, float]] = {
    "B200": (2250, 1125, 75),
    "H200 NVL": (835, 417, 60),
    "H200": (989.4, 494.7, 66.9),
    "GH200": (989.4, 494.7, 66.9),
    "H100 NVL": (835, 417, 60),
    "H100 PCIe": (756, 378, 51.2),
    "H100": (989.4, 494.7, 66.9),
    "A100": (312, 156, 19.5),
    "A30": (165, 82, 10.3),
    "A10G": (70, 35, 31.5),
    "A10": (125, 62.5, 31.2),
    "A40": (149.7, 74.8, 37.4),
    "L40S": (362, 183, 91.6),
    "L40": (181, 90.5, 90.5),
    "L4": (121, 60, 30.3),
    "V100": (125, 15.7, 15.7),
    "T4": (65, 8.1, 8.1),
    "RTX 5090": (209.5, 104.8, 104.8),
    "RTX 4090": (165.2, 82.6, 82.6),
    "RTX 3090": (71, 35.6, 35.6),
    "MI300X": (1307.4, 653.7, 163.4),
}


def peak_of(device: torch.device, args: TrainingArguments, model: nn.Module) -> float | None:
    """Look up the peak of a device in FLOP/s, in the precision of the training; None where it is not known."""
    if device.type != "cuda":
        return None
    weights = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    half = args.bf16 or args.fp16 or weights in (torch.bfloat16, torch.float16)
    precision = "half" if half else "tf32" if uses_tf32() else "single"
    return peak_of_name(torch.cuda.get_device_name(device), precision)


def peak_of_name(name: str, precision: str) -> float | None:
    """Look up the peak of a card by its name, in FLOP/s; the precision is half, tf32 or single."""
    words = name.replace("-", " ").split()
    for card, peaks in PEAKS.items():
        if set(card.split()) <= set(words):
            return 1e12 * dict(zip(("half", "tf32", "single"), peaks, strict=True))[precision]
    return None
