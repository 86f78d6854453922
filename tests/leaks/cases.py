"""The leak programs: what each one leaks and what a report of it has to say. One line a case.

Each program runs with `leak` and with `fixed`. The first suspect of the leaking run must be of the class given, its growth
within a tenth of what the program says it leaked, and every one of the words (regular expressions) must be found in its
holder, chain, hook or site. `type:WORD` and `advice:WORD` look there instead; `line:TEXT` stands for "file:line" of the
program's first line that holds the text, and is not asked for where there is no debug information; `WORD|dwarf` neither.
Class None: no leak, so no suspect in either run; a word in `not_leak` is the class under which the growth must be told.
"""
import collections

Case = collections.namedtuple("Case", "name suspect words not_leak takes", defaults=((), None, False))
# takes: the program takes the snapshots itself, because it has counters to tell.

CASES = [
    Case("c-global-list", "rooted", ["journal", "newest|dwarf", "struct envelope|dwarf"]),
    Case("c-hash-cache", "rooted", ["resolver", "buckets|dwarf", "struct cache_entry|dwarf"]),
    Case("c-callbacks", "hook", ["on_colours_changed", "colour_bus", "listeners|dwarf"]),
    Case("c-lost", "lost", ["make_token|dwarf", "line:token = malloc(", r"\b(make_token|log_in|main)\b"]),
    Case("c-op-temp", "lost", ["op_softmax", "line:workspace = malloc("]),
    Case("cc-map-shared", "rooted", ["players", r"\bPlayer\b"]),
    Case("cc-vtable-stripped", "rooted", ["drawing::StrokeAction"]),
    Case("c-freelist", None, not_leak="plateau"),
    Case("c-ring", None),
    Case("c-fragment", None, not_leak="allocator-free"),
    Case("c-load", None, not_leak="load-proportional", takes=True),
]
