"""Adam makes its state at the first step, in the second round here: growth once, no leak. fixed: with the first round."""
import torch

import rounds

WIDTH = 400


def main():
    leak = rounds.is_leak()
    torch.manual_seed(1)
    model = torch.nn.Linear(WIDTH, WIDTH)
    optimizer = torch.optim.Adam(model.parameters())
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(16, WIDTH)).pow(2).mean().backward()
            if number >= 2 or not leak:
                optimizer.step()
        rounds.end(number)


main()
