"""The leak programs: what each one leaks and what a report of it has to say. One line a case.

Each program runs with `leak` and with `fixed`. The first suspect of the leaking run must be of the class given, its growth
within a tenth of what the program says it leaked, and every one of the words (regular expressions) must be found in its
holder, chain, hook or site. `type:WORD`, `domain:WORD` and `advice:WORD` look there instead; `line:TEXT` stands for "file:line" of the
program's first line that holds the text, and is not asked for where there is no debug information; `WORD|dwarf` neither, and
`WORD|tracked` not without the recorder.
Class None: no leak, so no suspect in either run; a word in `not_leak` is the class under which the growth must be told.
"""
import collections

Case = collections.namedtuple("Case", "name suspect words not_leak takes in_bytes", defaults=((), None, False, True))
# takes: the program takes the snapshots itself, because it has counters to tell. in_bytes: it knows how many bytes it leaks, not
# how many things.
# A tuple of classes: any of them.

CASES = [
    Case("c-global-list", "rooted", ["journal", "newest|dwarf", "struct envelope|dwarf"]),
    Case("c-hash-cache", "rooted", ["resolver", "buckets|dwarf", "struct cache_entry|dwarf"]),
    Case("c-callbacks", "hook", ["on_colours_changed", "colour_bus", "listeners|dwarf"]),
    Case("c-lost", "lost", ["make_token|dwarf", "line:token = malloc(", r"\b(make_token|log_in|main)\b"]),
    Case("c-op-temp", "lost", ["op_softmax", "line:workspace = malloc("]),
    Case("cc-map-shared", "rooted", ["players", r"\bPlayer\b|dwarf"]),
    Case("cc-vtable-stripped", "rooted", ["drawing::StrokeAction"]),
    Case("c-freelist", None, not_leak="plateau"),
    Case("c-ring", None),
    Case("c-fragment", None, not_leak="allocator-free"),
    Case("c-load", None, not_leak="load-proportional", takes=True),
    Case("cu-lost", "device", ["run_batch|dwarf", r"line:cudaMalloc(&workspace", r"domain:device"]),
    Case("cu-held", "device", ["results", "device_buffer|dwarf"]),
    Case("cu-streams", "resource", ["type:stream", r"\b(run_job|main)\b", "line:cudaStreamCreate(&stream"], in_bytes=False),
    Case("cu-static-lib", "device", ["libfourier"]),
    Case("cu-cache", None, not_leak="pool-cached"),
    Case("py-module-cache", "rooted", ["__main__", "_features"]),
    Case("py-lru-method", "rooted", ["lru_cache", r"\bencode\b", "Tokenizer"]),
    Case("py-exception", "rooted", ["__traceback__|frame", "normalize|train_step", "scaled|batch"]),
    Case("py-gc-off", "garbage", [r"type:\bNode\b", "advice:collect"]),
    Case("py-frozen-list", "rooted", ["finished", r"\blist\b"]),
    Case("py-thread-local-var", "rooted", ["consumer|thread", r"\bconsume\b", "backlog"]),
    Case("py-refleak", "native-held", [r"type:\blist\b"]),
    Case("py-cow", None, not_leak="copy-on-write"),
    Case("torch-loss", "autograd", ["total_loss", "AddBackward0"]),
    Case("torch-logged", "autograd", ["train_loss"]),
    Case("torch-hooks", "hook", [r"encoder", "_forward_hooks", "record_activation", "line:def record_activation"]),
    Case("torch-hook-self", "garbage", ["_forward_hooks", "cell"]),
    Case("torch-create-graph", "native-cycle", [r"\.?grad\b", "grad_fn"]),
    Case("torch-view-saved", "native-cycle", ["saved", "Doubled"]),
    Case("torch-groups", "resource", ["type:process_group", r"_pg_map\b", "line:dist.new_group(|tracked", r"advice:destroy_process_group\(\)"],
         in_bytes=False),
    Case("torch-scheduler", None),
    Case("torch-shapes", None, not_leak="allocator-free"),
    Case("torch-cuda-cache", None, not_leak="pool-cached"),
    Case("torch-adam", None, not_leak=("warm-up", "plateau")),
]

# Messier ones, in extra/: what the rules are tried on that were not made for them.
CASES += [
    Case("cc-subscriptions", ("rooted", "hook"), [r"\bbus\b", "handlers|dwarf"]),
    Case("c-dirty-cache", "rooted", ["page_cache", "struct page|dwarf"]),
    Case("c-line-buffers", "rooted", ["connections", "input|dwarf"]),
    Case("c-worker-pool", "lost", [r"allocate_lines|decode", "line:lines = malloc("]),
    Case("c-two-at-once", "rooted", ["last_replay", "struct replay|dwarf"]),
    Case("c-slow-in-churn", "rooted", ["trail", "struct line|dwarf"]),
    Case("cc-growing-vector", "rooted", ["all_series", "samples|dwarf"]),
    Case("cc-self-capture", "native-cycle", ["Request"]),
    Case("torch-view-kept", "rooted", ["hardest", r"advice:clone\(\)", r"advice:show \d+ bytes and keep storages of \d+"]),
]
