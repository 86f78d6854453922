"""Batches of changing size on the device. leak: each is a little larger than all before it, so that no cached segment fits. fixed: they
are padded to one size. Nothing stays between rounds: PyTorch's allocator holds more and more, and this is no leak."""
import torch

import rounds

changes, n = rounds.is_leak(), 0
weights = torch.zeros(1 << 20, device="cuda")
for round_number in range(rounds.N_ROUNDS + 1):
    for _ in range(4):
        batch = torch.zeros((12 << 20) + n * (3 << 20), dtype=torch.uint8, device="cuda")
        n += changes
        del batch
    torch.cuda.synchronize()
    rounds.end(round_number)
