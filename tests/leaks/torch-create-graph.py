"""backward(create_graph=True) makes the gradient part of a graph that refers to the parameter that owns the gradient
(pytorch#7343). fixed: the gradient is taken away at the end of the step."""
import torch

import rounds

SIZE = 20000


def step(leak):
    weight = torch.randn(SIZE, requires_grad=True)
    loss = weight.pow(3).sum()
    loss.backward(create_graph=True)
    penalty = float(weight.grad.detach().pow(2).sum())
    if not leak:
        weight.grad = None
    return penalty


def main():
    leak = rounds.is_leak()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(5):
            step(leak)
            leaked += 2 * SIZE * 4  # the parameter and its gradient
        rounds.end(number, leaked if leak else 0)


main()
