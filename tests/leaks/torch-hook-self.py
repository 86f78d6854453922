"""A model whose hook refers to the model itself is built anew every round while the collector is off (pytorch#46386). fixed:
the hook gets a weak reference."""
import gc
import weakref

import torch

import rounds

WIDTH = 180


def build(leak):
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())
    owner = model if leak else weakref.proxy(model)

    def count(_module, _inputs, output):
        owner.n_calls = getattr(owner, "n_calls", 0) + output.shape[0]

    model[0].register_forward_hook(count)
    return model


def main():
    leak = rounds.is_leak()
    gc.collect()
    gc.disable()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(3):
            model = build(leak)
            model(torch.randn(4, WIDTH))
            leaked += WIDTH * (WIDTH + 1) * 4
        rounds.end(number, leaked if leak else 0)


main()
