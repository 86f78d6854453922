"""A module in C forgets a Py_DECREF: lists that no Python object refers to stay. fixed: it does not."""
import sys

import leaky_parser
import rounds

LINE = " ".join(f"word{index:04}" for index in range(60))


def main():
    leak = rounds.is_leak()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(80):
            words, _count = leaky_parser.parse(LINE, not leak)
            leaked += sys.getsizeof(words) + sum(map(sys.getsizeof, words))
        del words
        rounds.end(number, leaked if leak else 0)


main()
