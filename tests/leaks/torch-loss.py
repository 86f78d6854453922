"""The loss of every batch is added up without detach(), so each keeps its graph (transformers#6999). fixed: item()."""
import torch

import rounds

torch.manual_seed(1)
WIDTH, ROWS = 64, 128


def train(model, number, total_loss, leak):
    leaked = 0
    for _ in range(4):
        x = torch.randn(ROWS, WIDTH)
        loss = model(x).pow(2).mean()
        loss.backward(retain_graph=leak)
        model.zero_grad()
        total_loss = total_loss + (loss if leak else loss.item())
        leaked += 3 * ROWS * WIDTH * 4  # what the graph saves: x, what relu made, what pow gets
    return total_loss, leaked


def main():
    leak = rounds.is_leak()
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH))
    total_loss = 0
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        total_loss, more = train(model, number, total_loss, leak)
        leaked += more
        rounds.end(number, leaked if leak else 0)


main()
