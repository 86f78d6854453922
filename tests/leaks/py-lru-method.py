"""functools.lru_cache on a method: the cache is the class's, its keys hold every object it was called on. fixed: a cache
of each object's own."""
import functools

import rounds

TABLE_BYTES = 4000


class Tokenizer:
    def __init__(self, language):
        self.language = language
        self.table = bytearray(TABLE_BYTES)

    @functools.lru_cache(maxsize=None)
    def encode(self, word):
        return sum(ord(letter) * 31 ** index for index, letter in enumerate(word)) % 50000


class OwnTokenizer(Tokenizer):
    def __init__(self, language):
        super().__init__(language)
        self.codes = {}

    def encode(self, word):
        if word not in self.codes:
            self.codes[word] = Tokenizer.encode.__wrapped__(self, word)
        return self.codes[word]


def main():
    leak = rounds.is_leak()
    leaked = 0
    for number in range(rounds.N_ROUNDS + 1):
        for request in range(100):
            tokenizer = (Tokenizer if leak else OwnTokenizer)(f"language {request % 5}")
            for word in ("the", "same", "four", "words"):
                tokenizer.encode(word)
            leaked += TABLE_BYTES + 57 + 48 + 4 * 250  # the table, the object, the entries of the cache
        rounds.end(number, leaked if leak else 0)


main()
