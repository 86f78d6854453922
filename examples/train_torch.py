"""Trains a small PyTorch network on scikit-learn's digits and takes a snapshot after each epoch.

usage: train_torch.py DIRECTORY [EPOCHS [KEEP]]

Two leaks are planted. backward(retain_graph=True), which once silenced an error, and a running loss that is summed without
detach() keep, for every batch ever seen, the autograd graph and the activations saved in it. And a hook is registered in
each epoch to look at activations, and never removed. The last lines of the output say how the leaks are known in the
program itself: the operator that allocated the biggest activation, the variable, the registry and line of the hook.
With KEEP none of it is there: instead a list of past results grows by KEEP bytes per epoch, if KEEP is not 0.
"""
import os
import sys

import torch
from sklearn.datasets import load_digits

import heapsnap

EPOCHS = 4
BATCH_ROWS = 32


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(64, 256)
        self.out = torch.nn.Linear(256, 10)

    def forward(self, pixels):
        return self.out(torch.relu(self.hidden(pixels)))


def watch(layer):
    """Keeps the sums of a layer's activations for later."""
    sums = torch.zeros(1 << 18)

    def add_sums(module, inputs, outputs):
        sums[: outputs.shape[1]] += outputs.detach().sum(0)

    layer.register_forward_hook(add_sums)  # planted: nobody keeps the handle to remove() it
    return add_sums.__code__.co_firstlineno


def biggest_saved(grad_fn):
    """Name of the operator in front of grad_fn whose node saved the biggest result, such as 'relu'."""
    best_bytes, best_name = 0, "none"
    todo, seen = [grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        todo += [parent for parent, _ in node.next_functions]
        saved = getattr(node, "_saved_result", None)
        saved_bytes = saved.numel() * saved.element_size() if isinstance(saved, torch.Tensor) else 0
        if saved_bytes > best_bytes:
            best_bytes, best_name = saved_bytes, node.name().removesuffix("Backward0").lower()
    return best_name


def train(directory, epochs, keep):
    torch.manual_seed(1)
    digits = load_digits()
    pixels = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    total_loss, history = 0, []
    for epoch in range(1, epochs + 1):
        hook_line = watch(net.hidden) if keep is None else 0
        order = torch.randperm(len(pixels))
        n_correct = 0
        for rows in order.split(BATCH_ROWS):
            logits = net(pixels[rows])
            loss = torch.nn.functional.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward(retain_graph=keep is None)  # planted
            optimizer.step()
            total_loss += loss if keep is None else loss.item()  # planted: without item() it keeps the graph
            n_correct += int((logits.argmax(1) == labels[rows]).sum())
        print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {100 * n_correct / len(pixels):.1f}%", flush=True)
        if keep:
            history.append(torch.full((keep // 4,), loss.item()))
        heapsnap.snap(
            os.path.join(directory, f"epoch{epoch}.snap"),
            label=f"epoch {epoch}",
            step=epoch,
            counters={"samples": epoch * len(pixels)},
            overwrite=True,
        )
    if keep is None:
        print(f"planted leak: {biggest_saved(loss.grad_fn)}")
        print("planted variable: total_loss")
        print(f"planted hook: _forward_hooks train_torch.py:{hook_line}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit("usage: train_torch.py DIRECTORY [EPOCHS [KEEP]]")
    train(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else EPOCHS, int(sys.argv[3]) if len(sys.argv) > 3 else None)
