"""A convolution gets a new shape at every step (pytorch#32037): the resident size grows, what is in use does not. No leak.
fixed: one shape."""
import torch

import rounds


def main():
    leak = rounds.is_leak()
    layer = torch.nn.Conv2d(3, 16, 3)
    with torch.no_grad():
        for number in range(rounds.N_ROUNDS + 1):
            for step in range(8):
                side = 64 + (24 * (8 * number + step) if leak else 0)
                layer(torch.randn(1, 3, side, side + 8))
            rounds.end(number)


main()
