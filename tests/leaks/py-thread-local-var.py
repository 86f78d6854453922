"""A thread that never ends gathers what it has seen in a local variable. fixed: it forgets after every round."""
import queue
import threading

import rounds

MESSAGE_BYTES = 2000


def consume(inbox, done, leak):
    backlog = []
    while True:
        message = inbox.get()
        if message is None:
            done.put(len(backlog))
            if not leak:
                backlog.clear()
            continue
        backlog.append(bytearray(message))


def main():
    leak = rounds.is_leak()
    inbox, done = queue.SimpleQueue(), queue.SimpleQueue()
    threading.Thread(target=consume, args=(inbox, done, leak), name="consumer", daemon=True).start()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(150):
            inbox.put(MESSAGE_BYTES)
            leaked += MESSAGE_BYTES + 57 + 8
        inbox.put(None)
        done.get()
        rounds.end(number, leaked if leak else 0)


main()
