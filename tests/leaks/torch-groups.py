"""Process groups are made every round and never destroyed (pytorch#40400), with gloo in one process. fixed: they are."""
import os
import tempfile

import torch
import torch.distributed as dist

import rounds


def main():
    leak = rounds.is_leak()
    directory = tempfile.mkdtemp()
    dist.init_process_group("gloo", init_method=f"file://{directory}/store", rank=0, world_size=1)
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        groups = [dist.new_group([0], backend="gloo") for _ in range(3)]
        for group in groups:
            dist.all_reduce(torch.ones(100), group=group)
        leaked += len(groups)  # groups, not bytes
        if not leak:
            for group in groups:
                dist.destroy_process_group(group)
        del groups
        rounds.end(number, leaked if leak else 0)
    os._exit(0)


main()
