"""Two engines of PyTorch Ignite, in one run.

They log the loss of every fifth iteration, the learning rate, the evaluations at the trainer's iterations and the best
checkpoint to every tracker.

Run it with: python examples/ignite_engine.py --epochs 10
"""

import argparse

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.metrics import Accuracy, Loss
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from runcast.adapters.ignite import RuncastLogger, RuncastSaver, global_step_from_engine


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--report_to", default="all")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target))
    test, train = (torch.utils.data.Subset(data, range(*part)) for part in ((0, 360), (360, len(data))))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.lr)
    loss = nn.CrossEntropyLoss()
    trainer = create_supervised_trainer(model, optimizer, loss, output_transform=lambda *made: made[-1])
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy(), "loss": Loss(loss)})

    with RuncastLogger(arguments.report_to, project="digits", config=vars(arguments)) as logger:
        iteration = global_step_from_engine(trainer, Events.ITERATION_COMPLETED)
        every_fifth = Events.ITERATION_COMPLETED(every=5)
        logger.attach_output_handler(trainer, every_fifth, tag="train", output_transform=lambda loss: {"loss": loss})
        logger.attach_opt_params_handler(trainer, every_fifth, optimizer=optimizer)
        logger.attach_output_handler(
            evaluator, Events.EPOCH_COMPLETED, tag="eval", metric_names="all", global_step_transform=iteration
        )
        best = Checkpoint({"model": model}, RuncastSaver(logger), filename_prefix="best", score_name="accuracy")
        evaluator.add_event_handler(Events.COMPLETED, best)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(DataLoader(test, 360)))
        trainer.run(DataLoader(train, 64, shuffle=True), max_epochs=arguments.epochs)
    print({f"eval/{name}": round(value, 4) for name, value in evaluator.state.metrics.items()})


if __name__ == "__main__":
    main()
