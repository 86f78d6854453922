"""A function of its own saves a view of its output, which then owns itself (pytorch#94990). fixed: it saves the input."""
import torch

import rounds

SIZE = 20000


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, leak):
        y = x * 2
        ctx.save_for_backward(y.view(-1) if leak else x)
        return y

    @staticmethod
    def backward(ctx, gradient):
        (_saved,) = ctx.saved_tensors
        return gradient * 2, None


def main():
    leak = rounds.is_leak()
    x = torch.randn(SIZE, requires_grad=True)
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(6):
            Doubled.apply(x, leak)
            leaked += SIZE * 4
        rounds.end(number, leaked if leak else 0)


main()
