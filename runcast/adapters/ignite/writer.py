"""The calls of TensorBoard's SummaryWriter, which scripts make as `logger.writer.add_scalar(…)`, for a run."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from runcast.adapters.named_media import by_name, log_figure
from runcast.run.run import Run
from runcast.values.media.kinds import Audio, Histogram, Image, Text, Video


class Writer:
    """A writer whose calls go to a run; the arguments are those of `torch.utils.tensorboard.SummaryWriter`.

    Args:
        open_run: Returns the run.
    """

    def __init__(self, open_run: Callable[[], Run]) -> None:
        self._open_run = open_run

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log a number."""
        self._open_run().log({tag: scalar_value}, step=global_step)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None, *_: Any, **__: Any
    ) -> None:
        """Log numbers as main_tag/tag."""
        self._open_run().log({main_tag: tag_scalar_dict}, step=global_step)

    def add_histogram(self, tag: str, values: Any, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log how values are spread."""
        self._open_run().log({tag: Histogram(values)}, step=global_step)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Log an image whose dimensions `dataformats` names."""
        self._open_run().log({tag: _image(img_tensor, dataformats)}, step=global_step)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Log a batch of images, as tag/0, tag/1 …."""
        batch = torch.as_tensor(img_tensor).movedim(dataformats.index("N"), 0)
        images = [_image(image, dataformats.replace("N", "")) for image in batch]
        self._open_run().log(by_name(tag, images), step=global_step)

    def add_figure(self, tag: str, figure: Any, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log one figure or several."""
        several = figure if isinstance(figure, list) else [figure]
        for name, each in by_name(tag, several).items():
            log_figure(self._open_run(), each, name, global_step)

    def add_text(self, tag: str, text_string: str, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log a text."""
        self._open_run().log({tag: Text(text_string)}, step=global_step)

    def add_audio(
        self,
        tag: str,
        snd_tensor: Any,
        global_step: int | None = None,
        sample_rate: int = 44100,
        *_: Any,
        **__: Any,
    ) -> None:
        """Log a sound."""
        self._open_run().log({tag: Audio(snd_tensor, sample_rate)}, step=global_step)

    def add_video(self, tag: str, vid_tensor: Any, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log a video, by the path of its file."""
        self._open_run().log({tag: Video(vid_tensor)}, step=global_step)

    def add_hparams(
        self,
        hparam_dict: Mapping[str, Any],
        metric_dict: Mapping[str, Any],
        *_: Any,
        global_step: int | None = None,
        **__: Any,
    ) -> None:
        """Log the configuration, and the resulting metrics."""
        self._open_run().log_params(hparam_dict)
        if metric_dict:
            self._open_run().log(metric_dict, step=global_step)

    def add_graph(self, model: torch.nn.Module, *_: Any, **__: Any) -> None:
        """Keep the model's layers, as PyTorch prints them, as the artifact `model.txt`."""
        self._open_run()._keep(str(model).encode(), "model.txt", "config")

    def flush(self) -> None:
        """Do nothing: a value is safe when it was logged."""

    def close(self) -> None:
        """Do nothing: the logger finishes the run."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"A run of runcast has no {name!r}, which is TensorBoard's own. It has: "
            f"{', '.join(name for name in vars(Writer) if name.startswith('add_'))}."
        )


def _image(values: Any, dataformats: str) -> Image:
    tensor = torch.as_tensor(values)
    order = [dataformats.index(letter) for letter in ("CHW" if "C" in dataformats else "HW")]
    return Image(tensor.permute(order))
