"""A Keras model on real pictures.

It logs metrics of batches and epochs, a custom metric, the best model and an evaluation after the training: one run on
every tracker.

Run it with: python examples/keras_classifier.py --epochs 10
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from sklearn.datasets import load_digits

from runcast.adapters.keras import MetricCallback, RuncastCallback


def worst_digit(predictions: list, labels: list) -> float:
    """Return the share of the digit that is recognised least."""
    hits = [[] for _ in range(10)]
    for logits, label in zip(predictions, labels, strict=True):
        hits[int(label)].append(int(logits.argmax()) == int(label))
    return min(sum(found) / len(found) for found in hits)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--report_to", default="all")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    digits = load_digits()
    pictures = (digits.images / 16).astype("float32")[..., None]
    test, train = (pictures[:360], digits.target[:360]), (pictures[360:], digits.target[360:])
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])

    report = RuncastCallback(arguments.report_to, project="digits", every_steps=5, log_model="best")
    with report:
        callbacks = [MetricCallback(worst_digit, test), report]
        model.fit(*train, batch_size=64, epochs=arguments.epochs, validation_data=test, callbacks=callbacks, verbose=0)
        loss_value, accuracy = model.evaluate(*test, callbacks=[report], verbose=0)
    print({"eval/loss": round(loss_value, 4), "eval/accuracy": round(accuracy, 4)})


if __name__ == "__main__":
    main()
