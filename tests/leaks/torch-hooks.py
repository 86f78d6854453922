"""A forward hook is registered every epoch and its handle dropped (DeepLense#141); each has a buffer of its own. fixed: the
handle is removed."""
import torch

import rounds

WIDTH, BUFFER = 32, 80000


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())
        self.head = torch.nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.head(self.encoder(x))


def watch(module):
    seen = torch.zeros(BUFFER)

    def record_activation(_module, _inputs, output):
        seen[0] += float(output.detach().sum())

    return module.register_forward_hook(record_activation)


def main():
    leak = rounds.is_leak()
    net = Net()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        handle = watch(net.encoder[0])
        for _ in range(5):
            net(torch.randn(8, WIDTH))
        if not leak:
            handle.remove()
        leaked += BUFFER * 4
        rounds.end(number, leaked if leak else 0)


main()
