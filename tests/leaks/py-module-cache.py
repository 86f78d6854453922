"""A module keeps the result of every look-up in a dict (as dgl did with its graphs). fixed: the dict is cleared when it is
large."""
import sys

import rounds

_features = {}
_limit = None


def features_of(user):
    found = _features.get(user)
    if found is None:
        if _limit is not None and len(_features) >= _limit:
            _features.clear()
        found = _features[user] = bytearray(b"%d " % user * 200)
    return found


def main():
    global _limit
    leak = rounds.is_leak()
    if not leak:
        _limit = 64
    leaked = user = 0
    for number in range(rounds.N_ROUNDS + 1):
        for _ in range(400):
            user += 1
            found = features_of(user)
            leaked += sys.getsizeof(found) + sys.getsizeof(user)
        rounds.end(number, leaked if leak else 0)


main()
