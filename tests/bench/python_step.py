"""What a training step in Python costs under the recorder, beside the same step alone and under memray.

Usage: python_step.py SNAP [--memray PYTHON] [--workloads LIST] [--rounds N]

Workloads: `digits`, a tiny network on small batches (a step is almost all interpreter and dispatch), `transformer`, one of 10 million
parameters, and `objects`, plain Python that makes and drops objects of its own. Of each workload one process per variant runs, all on one
processor, and they take turns: a few steps each, round after round. So whatever else slows the machine slows all of them alike, and what
counts is each round's ratio to the step alone; printed are the median and the quartiles of the rounds. Time is processor time of all
threads of the process. Steps before the first round are not counted: the stacks of a step are new only once.

memray is asked for what the recorder gives: stacks of C and of Python functions (--native); without them it is shown, too.
--memray: a Python that has memray (and torch); by default the one that runs this, if it has."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

WANTED = {("digits", "default"): 1.15, ("transformer", "default"): 1.05}
MEMRAY = "memray, native, Python's allocators"
WANTED_OF_MEMRAY = 1 / 3
STEPS = {"digits": (1500, 40), "transformer": (3, 1), "objects": (60, 3)}  # before the first round, in each round

PROGRAM = '''
import sys, time

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
    return step

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
    return step

def objects():
    class Point:
        def __init__(self, x, y):
            self.x, self.y, self.name = x, y, "point %d" % x
    def step():
        kept = {}
        for i in range(3000):
            kept[i] = [Point(i, float(i)), (i, str(i))]
        return sorted(kept.values(), key=lambda v: v[0].y)
    return step

step = globals()[sys.argv[1]]()
def steps(n):
    start = time.process_time()
    for _ in range(n):
        step()
    return time.process_time() - start
steps(int(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    print(steps(int(line)), flush=True)
'''


def start(command, program, workload, folder):
    """A process of a variant, after its first steps; None: it does not run here."""
    place = os.path.join(folder, str(len(os.listdir(folder))))
    os.mkdir(place)
    process = subprocess.Popen([part.replace("FOLDER", place) for part in command] + [program, workload, str(STEPS[workload][0])],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if line.strip() == "ready":
            return process
    process.wait()
    return None


def take_turns(processes, n_steps, n_rounds):
    """Seconds of a step by variant, one figure for each round."""
    took = {name: [] for name in processes}
    for _ in range(n_rounds):
        for name, process in processes.items():
            print(n_steps, file=process.stdin, flush=True)
            took[name].append(float(process.stdout.readline()) / n_steps)
    return took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("snap")
    parser.add_argument("--rounds", type=int, default=100)
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
        "memray, native": memray + ["--native", "-o", "FOLDER/a.bin"],
        "memray, Python's allocators": memray + ["--trace-python-allocators", "-o", "FOLDER/a.bin"],
        MEMRAY: memray + ["--native", "--trace-python-allocators", "-o", "FOLDER/a.bin"],
    }
    if not shutil.which(options.memray) or subprocess.run([options.memray, "-c", "import memray"], stderr=subprocess.DEVNULL, check=False).returncode:
        print("memray is not here: left out", file=sys.stderr)
        variants = {name: command for name, command in variants.items() if "memray" not in name}
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    missed = 0
    for workload in options.workloads.split(","):
        with tempfile.NamedTemporaryFile("w", suffix=".py", prefix="heapsnap-step-") as program, \
                tempfile.TemporaryDirectory(prefix="heapsnap-bench-") as folder:
            program.write(PROGRAM)
            program.flush()
            processes = {name: start(command, program.name, workload, folder) for name, command in variants.items()}
            for name in [name for name, process in processes.items() if process is None]:
                print(f"{workload}, {name}: does not run here: left out")
                del processes[name]
            if "alone" not in processes:
                continue
            took = take_turns(processes, STEPS[workload][1], options.rounds)
            for process in processes.values():
                process.communicate()  # no more steps: it ends
        ratios = {name: sorted(one / alone for one, alone in zip(took[name], took["alone"])) for name in took}
        ratio = {name: statistics.median(ratios[name]) for name in ratios}
        print(f"{workload:12} {'variant':36} {'ms/step':>9} {'ratio':>7} {'quartiles':>15}  wanted")
        for name, of_rounds in ratios.items():
            wanted = WANTED.get((workload, name))
            if name == "python-allocations" and MEMRAY in ratio:
                wanted = 1 + (ratio[MEMRAY] - 1) * WANTED_OF_MEMRAY
            missed += wanted is not None and ratio[name] > wanted
            quarter = len(of_rounds) // 4
            print(f"{'':12} {name:36} {statistics.median(took[name]) * 1e3:9.3f} {ratio[name]:7.3f} "
                  f"{of_rounds[quarter]:7.3f} {of_rounds[-1 - quarter]:7.3f}  {f'<= {wanted:.3f}' if wanted else ''}", flush=True)
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
