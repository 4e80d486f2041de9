"""What of a Keras model and its `fit` are params: what was configured, as far as the model can describe itself."""

from collections.abc import Mapping
from typing import Any

from runcast.core.foreign import attempt


def params_of(model: Any, fit: Mapping[str, Any] | None) -> dict[str, Any]:
    """Collect the configuration of the fit, the optimizer, the losses and the model."""
    optimizer, loss = getattr(model, "optimizer", None), getattr(model, "loss", None)
    losses = {key: _name_of(value) for key, value in loss.items()} if isinstance(loss, Mapping) else _name_of(loss)
    about = {"num_layers": lambda: len(model.layers), "num_parameters": model.count_params}
    sizes = {name: attempt(count, lambda _: None) for name, count in about.items()}  # before the first batch: unknown
    return {
        "fit": {key: value for key, value in (fit or {}).items() if key != "verbose"},
        "optimizer": {} if optimizer is None else {"class": type(optimizer).__name__, **_config_of(optimizer)},
        "loss": [_name_of(value) for value in loss] if isinstance(loss, list | tuple) else losses,
        "model": {"class": type(model).__name__, "name": model.name}
        | {name: size for name, size in sizes.items() if size is not None},
    }


def _config_of(optimizer: Any) -> dict[str, Any]:
    """Return the configuration of an optimizer; its learning rate may be a schedule that cannot describe itself."""

    def without_schedule(error: BaseException) -> dict[str, Any]:
        rate = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_learning_rate", None)
        return {"learning_rate": type(rate).__name__, "config": f"<unreadable: {type(error).__name__}>"}

    return attempt(lambda: dict(optimizer.get_config()), without_schedule)


def _name_of(loss: Any) -> str | None:
    return (
        loss if loss is None or isinstance(loss, str) else str(getattr(loss, "name", getattr(loss, "__name__", loss)))
    )
