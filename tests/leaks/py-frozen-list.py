"""A server freezes what it has built at start (gc.freeze, as vLLM does); a list in there grows with every request, and no
function of gc shows it. fixed: the list is cut."""
import gc

import rounds

ENTRY_BYTES = 900


class Scheduler:
    def __init__(self):
        self.finished = []
        self.running = {}


class Engine:
    def __init__(self):
        self.scheduler = Scheduler()


engine = Engine()


def serve(request):
    engine.scheduler.running[request] = bytearray(ENTRY_BYTES)
    engine.scheduler.finished.append(engine.scheduler.running.pop(request))


def main():
    leak = rounds.is_leak()
    gc.freeze()
    leaked = request = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(300):
            request += 1
            serve(request)
            leaked += ENTRY_BYTES + 57 + 8
            if not leak:
                del engine.scheduler.finished[:-20]
        rounds.end(number, leaked if leak else 0)


main()
