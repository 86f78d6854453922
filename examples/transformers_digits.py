"""Snapshots from a training with Hugging Face's Trainer: the callback, and a small trainer that uses it.

usage: transformers_digits.py DIRECTORY [leak]

Snapshots is what a project copies: Trainer(..., callbacks=[Snapshots("run/epoch%n.snap")]). The rest trains a small network
on scikit-learn's digits. With `leak`, another callback looks at activations from a hook that it registers anew in each epoch
and never removes.
"""
import os
import sys

import torch
from sklearn.datasets import load_digits
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

import heapsnap

EPOCHS = 4


class Snapshots(TrainerCallback):
    """Takes a snapshot after every epoch of training, on every rank.

    path    as for heapsnap.snap: %n is the number of the snapshot, %r the rank
    """

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, args, state, control, **kwargs):
        heapsnap.snap(
            self.path,
            label=f"epoch {state.epoch:g}",
            step=state.global_step,
            rank=args.process_index,
            counters={"epochs": round(state.epoch)},
            overwrite=True,
        )


class Activations(TrainerCallback):
    """Sums the activations of a layer, epoch by epoch."""

    def on_epoch_begin(self, args, state, control, model=None, **kwargs):
        sums = torch.zeros(1 << 18)

        def add_sums(module, inputs, outputs):
            sums[: outputs.shape[1]] += outputs.detach().sum(0)

        model.hidden.register_forward_hook(add_sums)  # planted: nobody keeps the handle to remove() it


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(64, 256)
        self.out = torch.nn.Linear(256, 10)

    def forward(self, pixels, labels):
        logits = self.out(torch.relu(self.hidden(pixels)))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def main(directory, leak):
    logging.set_verbosity_error()
    digits = load_digits()
    rows = [
        {"pixels": torch.tensor(pixels, dtype=torch.float32) / 16, "labels": int(label)}
        for pixels, label in zip(digits.data, digits.target)
    ]
    arguments = TrainingArguments(
        output_dir=directory,
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=32,
        learning_rate=0.01,
        use_cpu=True,
        seed=1,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    callbacks = [Snapshots(os.path.join(directory, "epoch%n.snap"))] + ([Activations()] if leak else [])
    done = Trainer(model=Net(), args=arguments, train_dataset=rows, callbacks=callbacks).train()
    print(f"mean loss {done.training_loss:.4f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["leak"]):
        sys.exit("usage: transformers_digits.py DIRECTORY [leak]")
    main(sys.argv[1], len(sys.argv) == 3)
