"""A logger keeps what it is given; it is given the loss with its graph (wandb#354). fixed: numbers."""
import torch

import rounds

torch.manual_seed(1)
WIDTH, ROWS = 64, 128


class History:
    def __init__(self):
        self.values = {}

    def log(self, **values):
        for key, value in values.items():
            self.values.setdefault(key, []).append(value)


def main():
    leak = rounds.is_leak()
    model = torch.nn.Linear(WIDTH, WIDTH)
    history = History()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for step in range(6):
            loss = torch.sigmoid(model(torch.randn(ROWS, WIDTH))).mean()
            history.log(train_loss=loss if leak else loss.item(), step=step)
            leaked += 2 * ROWS * WIDTH * 4  # x, and what sigmoid made
        rounds.end(number, leaked if leak else 0)


main()
