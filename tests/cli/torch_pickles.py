"""Pickles as torch.cuda.memory._dump_snapshot writes them, by the layouts of several versions of PyTorch, of a seeded random
allocator; with the totals that PyTorch itself would report. And pickles that nobody should run."""
import pickle
import random

MIB = 1 << 20
VERSIONS = ("1.13", "2.0", "2.1", "2.5", "2.13")


def frames_for(rng, version):
    functions = [("/srv/job/train.py", 31, "step"), ("/srv/job/model.py", 7, "forward"), ("<string>", 1, "<module>"),
                 ("??", 0, "at::native::empty_cuda"), ("/usr/lib/python3/torch/nn/modules/linear.py", 125, "forward")]
    depth = rng.randrange(1, 6)
    frames = [dict(zip(("filename", "line", "name"), rng.choice(functions))) for _ in range(depth)]
    if version == "2.13":
        for frame in frames[:1]:
            frame.update(fx_node_op="call_function", fx_node_name="linear", fx_original_trace="x = self.fc(x)")
    return frames


def block(rng, version, address, size, state):
    made = {"size": size, "state": state}
    if version != "1.13":
        made["requested_size"] = size - rng.randrange(512)
    if version in ("2.5", "2.13"):
        made["address"] = address
    if state == "inactive":
        if version == "2.13":
            made["frames"] = []
        return made
    if version == "2.0":
        made["history"] = [{"addr": address, "real_size": size, "frames": frames_for(rng, version)}]
    elif version != "1.13":
        made["frames"] = frames_for(rng, version)
    return made


def snapshot(seed, version, n_segments=40):
    """(the object to pickle, {"allocated", "active", "reserved", "blocks"} by device)"""
    rng = random.Random(f"{seed} {version}")
    # PyTorch's documentation says the one, its code (of 2.13, too) the other.
    pending = "active_awaiting_free" if version in ("2.1", "2.5") else "active_pending_free"
    segments, totals = [], {}
    for i in range(n_segments):
        device, is_small = rng.randrange(2), rng.random() < 0.5
        size = 2 * MIB if is_small else rng.choice((20 * MIB, 34 * MIB, 1024 * MIB))
        address = (0x7f00_0000_0000 if device else 0x7e00_0000_0000) + i * (2048 * MIB)
        total = totals.setdefault(device, {"allocated": 0, "active": 0, "reserved": 0, "blocks": 0})
        blocks, at = [], 0
        while at < size:
            length = min(size - at, 512 * rng.randrange(1, 400 if is_small else 20000))
            state = rng.choices(("active_allocated", "inactive", pending), (6, 4, 1))[0]
            blocks.append(block(rng, version, address + at, length, state))
            at += length
            if state != "inactive":
                total["blocks"] += 1
                total["active"] += length
                total["allocated"] += length * (state == "active_allocated")
        total["reserved"] += size
        allocated = sum(b["size"] for b in blocks if b["state"] == "active_allocated")
        active = sum(b["size"] for b in blocks if b["state"] != "inactive")
        segment = {"device": device, "address": address, "total_size": size, "allocated_size": allocated, "active_size": active,
                   "segment_type": "small" if is_small else "large", "blocks": blocks}
        if version != "1.13":
            segment["stream"] = 0
        if version in ("2.1", "2.5", "2.13"):
            segment["segment_pool_id"] = (0, rng.randrange(3) == 0 and 1 or 0)
        if version in ("2.5", "2.13"):
            segment.update(requested_size=allocated, is_expandable=rng.random() < 0.3, frames=frames_for(rng, version))
        segments.append(segment)
    if version == "1.13":
        return segments, totals
    whole = {"segments": segments,
             "device_traces": [[{"action": "alloc", "addr": rng.randrange(1 << 47), "size": 512, "stream": 0, "time_us": 1 << 60,
                                 "frames": frames_for(rng, version)} for _ in range(50)], []]}
    if version in ("2.5", "2.13"):
        whole["allocator_settings"] = {"PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1, "garbage_collection_threshold": 0.0,
                                       "expandable_segments": False, "roundup_power2_divisions": {str(1 << i): 0 for i in range(11)}}
        whole["external_annotations"] = []
    return whole, totals


class Runs:
    """What pickle.loads would run."""

    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


def malicious(path):
    """[(what, pickle, name of the instruction)]: each would make a file if it were run."""
    call = Runs(open, path, "w")
    pickles = [(f"a call, protocol {n}", pickle.dumps({"segments": [call]}, n), name)
               for n, name in ((2, "GLOBAL"), (3, "GLOBAL"), (4, "STACK_GLOBAL"), (5, "STACK_GLOBAL"))]
    pickles += [
        ("an old call", b"\x80\x02(S'x'\nio\nopen\n.", "'S'"),
        ("INST", b"\x80\x02(\x8c\x01xios\nsystem\n.", "INST"),
        ("OBJ", b"\x80\x02(\x8c\x02os\x8c\x06systemo.", "OBJ"),
        ("an extension", b"\x80\x02\x82\x01.", "EXT1"),
        ("a persistent id", b"\x80\x02\x8c\x01xQ.", "BINPERSID"),
        ("NEWOBJ", b"\x80\x02}}\x81.", "NEWOBJ"),
        ("BUILD", b"\x80\x02}}b.", "BUILD"),
        ("a set", b"\x80\x04\x8f.", "EMPTY_SET"),
        ("a buffer", b"\x80\x05\x97.", "NEXT_BUFFER"),
    ]
    return pickles


def damaged():
    """[(what, pickle)]: not well-formed, or no snapshot."""
    good = pickle.dumps(snapshot(1, "2.1", 2)[0], 4)
    nested = b"\x80\x04" + b"]" * 100000 + b"a" * 99999 + b"."
    one = pickle.dumps({"address": 0, "total_size": 512, "blocks": [{"size": 1024, "state": "inactive"}]}, 4)[2 + 9:-1]
    shared = {"address": 0, "total_size": 1 << 20, "blocks": [{"size": 512, "state": "inactive"} for _ in range(300)]}
    return [("nothing", b""), ("a text", b"hello, world\n"), ("cut short", good[:len(good) // 2]), ("without an end", good[:-1]),
            ("a text longer than all", b"\x80\x04\x8d" + b"\xff" * 8 + b"x."), ("a frame longer than all", b"\x80\x04\x95" + b"\xff" * 8 + b"}."),
            ("a memo far away", b"\x80\x02}r\xff\xff\xff\xff."), ("a memo that is not there", b"\x80\x02h\x05."),
            ("no mark", b"\x80\x02]e."), ("a mark alone", b"\x80\x02(."), ("append to a number", b"\x80\x02K\x01K\x02a."),
            ("a newer protocol", b"\x80\x09}."), ("an unknown instruction", b"\x80\x04\xff."), ("lists in lists", nested),
            ("a number", b"\x80\x02K\x01."), ("a dict of nothing", b"\x80\x02}."), ("two values", b"\x80\x02}}."),
            ("a block beyond its segment", b"\x80\x04](" + one + b"e."),
            ("a segment that is a number", b"\x80\x04](K\x01e."),
            ("many segments of the same blocks", pickle.dumps([shared] * 1000, 4))]


if __name__ == "__main__":  # a seed for fuzzing
    import sys
    sys.stdout.buffer.write(pickle.dumps(snapshot(5, sys.argv[1], 3)[0], int(sys.argv[2])))
