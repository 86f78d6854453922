"""A worker that was forked reads data of its parent. Each look at an object writes its reference count, so pages that were
shared become the worker's own: its private memory grows, but there is no object more. fixed: it looks at all of the data
before the first round ends."""
import os

import rounds

N_PER_ROUND = 30000


def main():
    leak = rounds.is_leak()
    rows = [(index, str(index)) for index in range(N_PER_ROUND * (rounds.N_ROUNDS + 1))]
    if os.fork() != 0:
        _, status = os.wait()
        os._exit(os.waitstatus_to_exitcode(status))
    total = 0
    if not leak:
        total += sum(len(row[1]) for row in rows)
    for number in range(rounds.N_ROUNDS + 1):
        for row in rows[number * N_PER_ROUND:(number + 1) * N_PER_ROUND]:
            total += len(row[1])
        rounds.end(number, of_process=True)
    os._exit(0 if total else 1)


main()
