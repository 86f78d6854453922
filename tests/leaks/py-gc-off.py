"""The collector is off, for speed, and the program makes cycles. fixed: it collects after every round."""
import gc

import rounds

PAYLOAD_BYTES = 1000


class Node:
    def __init__(self, parent):
        self.parent = parent
        self.children = []
        self.payload = bytearray(PAYLOAD_BYTES)
        if parent is not None:
            parent.children.append(self)


def parse_document():
    root = Node(None)
    for _ in range(9):
        Node(root)
    return len(root.children)


def main():
    leak = rounds.is_leak()
    gc.collect()
    gc.disable()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(40):
            parse_document()
            leaked += 10 * (PAYLOAD_BYTES + 57 + 56 + 56 + 40) + 88
        if not leak:
            gc.collect()
        rounds.end(number, leaked if leak else 0)


main()
