"""Snapshots from a PyTorch Lightning training: the callback, and a small trainer that uses it.

usage: lightning_digits.py DIRECTORY [leak]

Snapshots is what a project copies: trainer = Trainer(callbacks=[Snapshots("run/epoch%n.snap")]). The rest trains a small
network on scikit-learn's digits. With `leak`, the module keeps the loss of every step in a list, for a curve to be drawn at
the end, and with each loss the whole autograd graph that it came from.
"""
import logging
import os
import sys
import warnings

import lightning.pytorch as lightning
import torch
from sklearn.datasets import load_digits

import heapsnap

EPOCHS = 4


class Snapshots(lightning.Callback):
    """Takes a snapshot after every epoch of training, on every rank.

    path    as for heapsnap.snap: %n is the number of the snapshot, %r the rank
    every   a snapshot after each so many epochs
    """

    def __init__(self, path, every=1):
        self.path = path
        self.every = every

    def on_train_epoch_end(self, trainer, pl_module):
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0:
            heapsnap.snap(
                self.path,
                label=f"epoch {epoch}",
                step=trainer.global_step,
                rank=trainer.global_rank,
                counters={"epochs": epoch},
                overwrite=True,
            )


class Digits(lightning.LightningModule):
    def __init__(self, leak):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
        self.leak = leak
        self.curve = []

    def training_step(self, batch, batch_idx):
        pixels, labels = batch
        loss = torch.nn.functional.cross_entropy(self.net(pixels), labels)
        self.last_loss = loss.item()
        if self.leak:
            self.curve.append(loss)  # planted: keeps the graph; loss.item() is a number
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main(directory, leak):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    lightning.seed_everything(1, verbose=False)
    digits = load_digits()
    data = torch.utils.data.TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    module = Digits(leak)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[Snapshots(os.path.join(directory, "epoch%n.snap"))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=32, shuffle=True))
    print(f"last loss {module.last_loss:.4f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["leak"]):
        sys.exit("usage: lightning_digits.py DIRECTORY [leak]")
    main(sys.argv[1], len(sys.argv) == 3)
