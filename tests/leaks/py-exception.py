"""Errors are kept to be reported later; each holds its traceback, that its frames, those their locals. fixed: the text is
kept."""
import rounds

BATCH_BYTES = 20000
failures = []


class BadBatch(Exception):
    pass


def normalize(batch):
    scaled = bytearray(batch)
    if scaled[0] % 2:
        raise BadBatch(f"odd value {scaled[0]}")
    return scaled


def train_step(index):
    batch = bytearray(BATCH_BYTES)
    batch[0] = index % 256
    return len(normalize(batch))


def main():
    leak = rounds.is_leak()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for index in range(20):
            try:
                train_step(index)
            except BadBatch as error:
                if leak:
                    failures.append(error)
                    leaked += 2 * BATCH_BYTES  # of both frames
                else:
                    failures[:] = (failures + [str(error)])[-5:]
        rounds.end(number, leaked)


main()
