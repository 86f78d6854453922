"""An optimizer and its scheduler are made anew every round (pytorch#25605, where they held one another). No leak in versions
of today: both twins do the same."""
import torch

import rounds

WIDTH = 128


def main():
    rounds.is_leak()
    model = torch.nn.Linear(WIDTH, WIDTH)
    for number in range(rounds.N_ROUNDS + 1):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(16, WIDTH)).pow(2).mean().backward()
            optimizer.step()
            scheduler.step()
        rounds.end(number)


main()
