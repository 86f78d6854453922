"""What a training step in Python costs under the recorder, beside the same step alone and under memray.

Usage: python_step.py SNAP [--memray PYTHON] [REPEATS]

Workloads: `digits`, a tiny network on small batches (a step is almost all interpreter and dispatch), `transformer`, one of 10 million
parameters, and `objects`, plain Python that makes and drops objects of its own. Each runs in processes of its own, alternating; of
each the median step counts, of the repeats the least: processor time of one thread, so that other programs of the machine matter little.
--memray: a Python that has memray (and torch); by default the one that runs this, if it has."""
import argparse
import os
import subprocess
import sys
import tempfile

WANTED = {("digits", "default"): 1.15, ("transformer", "default"): 1.05}
WANTED_OF_MEMRAY = 1 / 3

PROGRAM = '''
import statistics, sys, time
def steps(step, n):
    for _ in range(max(3, n // 10)):
        step()
    took = []
    for _ in range(n):
        start = time.process_time()
        step()
        took.append(time.process_time() - start)
    print(statistics.median(took))

def digits():
    import torch
    torch.set_num_threads(1)
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.rand(32, 64), torch.randint(10, (32,))
    def step():
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    steps(step, 400)

def transformer():
    import torch
    torch.set_num_threads(1)
    torch.manual_seed(1)
    layer = torch.nn.TransformerEncoderLayer(320, 5, 1280, dropout=0.0, batch_first=True)
    net = torch.nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
    assert 9e6 < sum(p.numel() for p in net.parameters()) < 11e6
    optimizer = torch.optim.Adam(net.parameters())
    x = torch.rand(4, 64, 320)
    def step():
        loss = net(x).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    steps(step, 12)

def objects():
    class Point:
        def __init__(self, x, y):
            self.x, self.y, self.name = x, y, "point %d" % x
    def step():
        kept = {}
        for i in range(3000):
            kept[i] = [Point(i, float(i)), (i, str(i))]
        return sorted(kept.values(), key=lambda v: v[0].y)
    steps(step, 40)

globals()[sys.argv[1]]()
'''


def measure(command, program, workload, environment=None):
    with tempfile.TemporaryDirectory(prefix="heapsnap-bench-") as folder:
        done = subprocess.run([part.replace("FOLDER", folder) for part in command] + [program, workload], capture_output=True, text=True,
                              env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, check=False, timeout=900)
    for line in done.stdout.splitlines():
        try:
            return float(line)
        except ValueError:
            continue
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("snap")
    parser.add_argument("repeats", type=int, nargs="?", default=3)
    parser.add_argument("--memray", default=sys.executable)
    parser.add_argument("--workloads", default="digits,transformer,objects")
    options = parser.parse_args()
    plain = [sys.executable]
    run = [options.snap, "run", "-q", "-o", "FOLDER/a.snap", "--every", "1h"]
    memray = [options.memray, "-m", "memray", "run", "-q"]
    variants = {
        "alone": plain,
        "default": run + ["--"] + plain,
        "python-allocations": run + ["--python-allocations", "--"] + plain,
        "memray": memray + ["-o", "FOLDER/a.bin"],
        "memray, Python's allocators": memray + ["--trace-python-allocators", "-o", "FOLDER/a.bin"],
    }
    if subprocess.run([options.memray, "-c", "import memray"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        print("memray is not here: left out", file=sys.stderr)
        variants = {name: command for name, command in variants.items() if "memray" not in name}
    missed = 0
    with tempfile.NamedTemporaryFile("w", suffix=".py", prefix="heapsnap-step-") as program:
        program.write(PROGRAM)
        program.flush()
        for workload in options.workloads.split(","):
            took = {}
            for _ in range(options.repeats):
                for name, command in variants.items():
                    one = measure(command, program.name, workload)
                    if one is not None:
                        took[name] = min(one, took.get(name, one))
            if "alone" not in took:
                print(f"{workload}: does not run here: left out")
                continue
            alone = took["alone"]
            print(f"{workload:12} {'variant':28} {'ms/step':>9} {'ratio':>7}  wanted")
            for name, one in took.items():
                wanted = WANTED.get((workload, name))
                if name == "python-allocations" and "memray, Python's allocators" in took:
                    wanted = 1 + (took["memray, Python's allocators"] / alone - 1) * WANTED_OF_MEMRAY
                missed += wanted is not None and one / alone > wanted
                print(f"{'':12} {name:28} {one * 1e3:9.3f} {one / alone:7.3f}  {f'<= {wanted:.3f}' if wanted else ''}", flush=True)
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
