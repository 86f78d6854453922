"""The best rows of each batch are kept, as views: ten rows keep their whole batch. fixed: the same rows, copied, of the last round only."""
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rounds

torch.manual_seed(1)
ROWS, WIDTH, BATCHES = 1024, 128, 8


class Memory:
    def __init__(self):
        self.hardest = []

    def keep(self, batch):
        self.hardest.append(batch[:10])

    def keep_copy(self, batch, most=BATCHES):
        self.hardest.append(batch[:10].clone())
        del self.hardest[:-most]


def main():
    leak = rounds.is_leak()
    memory, leaked = Memory(), 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(BATCHES):
            batch = torch.randn(ROWS, WIDTH)
            (memory.keep if leak else memory.keep_copy)(batch)
            leaked += ROWS * WIDTH * 4
        del batch
        rounds.end(number, leaked if leak else 0)


main()
