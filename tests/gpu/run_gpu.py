"""The checks of run.sh. Each is a function; one that cannot run here raises Skip with the reason. What is measured is printed."""
import ctypes
import functools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(sys.argv[1])
SNAP, LIBRARY = os.path.join(BUILD, "cmd/snap"), os.path.join(BUILD, "lib/libheapsnap.so")
DEADLINE = time.monotonic() + 570 - int(os.environ.get("GPU_SECONDS", "0"))
MODES = {
    "default": {},
    "expandable": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
    "async": {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"},
    "no cache": {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
    "graph": {},
    "pool": {},
}
EXTRA = {
    "graph": "g = torch.cuda.CUDAGraph()\nwith torch.cuda.graph(g):\n    y = kept[-1] * 2\n    z = [y + i for i in range(9)]\ndel z\n",
    "pool": "p = torch.cuda.MemPool()\nwith torch.cuda.use_mem_pool(p):\n    kept.append(torch.empty(5 << 20, device='cuda'))\n",
}
TENSORS = """
import ctypes, sys, torch
kept = [torch.empty(n * 1000, device="cuda") for n in range(1, 400)]
del kept[::3]
torch.cuda.synchronize()
snap = ctypes.CDLL(sys.argv[2]).snap_take
if snap(sys.argv[1].encode(), None, None) != 0:
    sys.exit("snap_take failed")
print(torch.cuda.memory_allocated(), torch.cuda.memory_reserved(), sum(k.nbytes for k in kept))
"""
OUT_OF_MEMORY = """
import torch
kept = torch.ones(5 << 20, device="cuda")
try:
    torch.empty(2 * torch.cuda.mem_get_info()[1], dtype=torch.uint8, device="cuda")
except torch.cuda.OutOfMemoryError:
    print("out of memory")
"""
# Calls of the driver by ctypes; what is not freed is what check_resources looks for.
DRIVER = """
import ctypes, struct, sys, time
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *arguments):
    if (result := getattr(cuda, name)(*arguments)) != 0:
        sys.exit(f"{name}: {result}")
def make(name, *arguments):
    out = ctypes.c_uint64()
    call(name, ctypes.byref(out), *arguments)
    return out
call("cuInit", 0)
call("cuCtxSetCurrent", make("cuDevicePrimaryCtxRetain", 0))
"""
RESOURCES = DRIVER + """
props = ctypes.create_string_buffer(struct.pack("iiii", 1, 0, 1, 0), 88)
for i in range(3):
    event, stream = make("cuEventCreate", 0), make("cuStreamCreate", 1)
call("cuEventDestroy_v2", event)
call("cuStreamDestroy_v2", stream)
graph = make("cuGraphCreate", 0)
make("cuGraphInstantiateWithFlags", graph, ctypes.c_uint64(0))
code = b".version 6.4\\n.target sm_75\\n.address_size 64\\n.visible .entry k() { ret; }\\n\\0"
module = cuda.cuModuleLoadData(ctypes.byref(ctypes.c_uint64()), code)
make("cuMemPoolCreate", props)
physical = make("cuMemCreate", ctypes.c_size_t(4 << 20), props, ctypes.c_uint64(0))
at = make("cuMemAddressReserve", ctypes.c_size_t(8 << 20), ctypes.c_size_t(0), ctypes.c_uint64(0), ctypes.c_uint64(0))
call("cuMemMap", at, ctypes.c_size_t(4 << 20), ctypes.c_size_t(0), physical, ctypes.c_uint64(0))
call("cuMemRelease", physical)
linear = make("cuMemAlloc_v2", ctypes.c_size_t(3 << 20))
shared = cuda.cuIpcGetMemHandle(ctypes.create_string_buffer(64), linear)
if ctypes.CDLL(sys.argv[2]).snap_take(sys.argv[1].encode(), None, None) != 0:
    sys.exit("snap_take failed")
print(linear.value, at.value, shared, module)
"""
PAIRS = DRIVER + """
out, size, stream = ctypes.c_uint64(), ctypes.c_size_t(4096), ctypes.c_void_p()
def pairs(allocate, release, *more):
    allocate, release = getattr(cuda, allocate), getattr(cuda, release)
    begun = time.perf_counter()
    for i in range(20000):
        allocate(ctypes.byref(out), size, *more)
        release(out, *more)
    call("cuCtxSynchronize")
    print((time.perf_counter() - begun) / 20000 * 1e9)
pairs("cuMemAlloc_v2", "cuMemFree_v2")
pairs("cuMemAllocAsync", "cuMemFreeAsync", stream)
"""


class Skip(Exception):
    pass


class Failed(Exception):
    pass


def left():
    seconds = DEADLINE - time.monotonic()
    if seconds < 5:
        raise Skip("the ten minutes are over")
    return min(seconds, 150)


def expect(condition, text):
    if not condition:
        raise Failed(text)


def execute(command, **options):
    """What it ended with. One that hangs is killed with all that it has started, which would hold its pipes open."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                          start_new_session=True, **options) as process:
        seconds = left()
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failed(f"{command[:6]}: not done after {seconds:.0f} s") from None
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def run(command, **options):
    result = execute(command, **options)
    expect(result.returncode == 0, f"{command[:6]}: status {result.returncode}: {result.stderr.strip()[-1500:]}")
    return result.stdout


@functools.cache
def has(module, extra="True"):
    return execute([sys.executable, "-c", f"import {module}; assert {extra}"]).returncode == 0


def need_torch():
    if not has("torch", "torch.cuda.is_available()"):
        raise Skip("no PyTorch with CUDA here")


def snapshot_of(script, environment, *options):
    """(what the script printed, devices of its snapshot, tables); references of a process with PyTorch in it are millions"""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "gpu.snap")
        out = run([SNAP, "run", "-q", *options, "-o", os.path.join(directory, "%n.snap"), "--", sys.executable, "-c", script, path, LIBRARY],
                  env={**os.environ, **environment})
        devices = json.loads(run([SNAP, "show", "--json", path])).get("devices", [])
        tables = json.loads(run([SNAP, "convert", path]))["tables"]
    return out, devices, tables


def check_recorder():
    """Whether a program without a device can be recorded here at all: sandboxes lack much of a kernel."""
    script = ("import ctypes, sys, threading\nkept = [bytearray(n * 100) for n in range(1, 500)]\n"
              "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
              "sys.exit(ctypes.CDLL(sys.argv[2]).snap_take(sys.argv[1].encode(), None, None))")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "here.snap")
        begun = time.monotonic()
        result = execute([SNAP, "run", "-o", os.path.join(directory, "%n.snap"), "--", sys.executable, "-c", script, path, LIBRARY])
        print(f"# {platform.platform()}, Python {platform.python_version()}: {time.monotonic() - begun:.1f} s, "
              f"{result.stderr.strip() or 'nothing said'}")
        expect(result.returncode == 0, f"status {result.returncode}")
        run([SNAP, "verify", path])
        tables = json.loads(run([SNAP, "convert", path]))["tables"]
    missing = {row["name"]: row["value"] for row in tables["META"] if row["key"] == "completeness"}
    kinds = sorted({n["kind"] for n in tables["NODE"]})
    print(f"# {len(tables['NODE'])} nodes ({', '.join(kinds)}), {len(tables['EDGE'])} references; missing: {missing or 'nothing'}")
    expect(tables["NODE"], "no blocks")


def check_entry_points():
    """Whether cuGetProcAddress returns what dlsym does: if so, functions are told by address, else by name."""
    driver = ctypes.CDLL("libcuda.so.1")
    driver.cuInit(0)
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    if version.value < 12000:
        raise Skip(f"a driver for CUDA {version.value // 1000}: older than the question")
    same = different = absent = 0
    with open(os.path.join(HERE, "entry_points.tsv"), encoding="ascii") as f:
        for line in f:
            if line.startswith("#"):
                continue
            symbol, name, since, per_thread, _ = line.rstrip("\n").split("\t")
            if int(since) > version.value:
                continue
            address, status = ctypes.c_void_p(), ctypes.c_int()
            driver.cuGetProcAddress_v2(name.encode(), ctypes.byref(address), int(since), ctypes.c_uint64(2 * int(per_thread)),
                                       ctypes.byref(status))
            try:
                exported = ctypes.cast(getattr(driver, symbol), ctypes.c_void_p).value
            except AttributeError:
                exported = None
            absent += address.value is None or exported is None
            same += address.value is not None and address.value == exported
            different += None not in (address.value, exported) and address.value != exported
    print(f"# driver {version.value}: {same} entry points by the same address, {different} by another, {absent} absent")
    expect(same + different > 50, "hardly any entry point")


def own_tests(file, tests, **programs):
    """Tests that run on the stand-in elsewhere, here on the driver that is here: its allocations must be in the file as they are in the
    program's books."""
    environment = {k: v for k, v in os.environ.items() if k != "HEAPSNAP_NVML"}
    environment.setdefault("LD_LIBRARY_PATH", "")
    environment.update({name: os.path.join(BUILD, "tests/gpu", path) for name, path in programs.items()}, SNAP=SNAP, FAKE="")
    if not os.path.exists(environment["PROGRAM"]):
        raise Skip(f"{environment['PROGRAM']} is not built (ninja -C {BUILD})")
    run([sys.executable, os.path.join(HERE, file), *tests], env=environment)


def check_caches():
    own_tests("test_device_cache.py", ["Cache"], PROGRAM="device_cache")


def check_pools():
    own_tests("test_device_pools.py", ["Pools"], PROGRAM="device_pools")


def check_nvtx():
    own_tests("test_device_nvtx.py", ["Nvtx"], PROGRAM="device_nvtx", PROGRAMS="device_nvtx")


def check_plugins():
    plugins = ":".join(os.path.join(BUILD, f"tests/gpu/runtime/libplugin_{protocol}.so") for protocol in range(3))
    own_tests("test_device_plugin.py", ["Plugin.test_local", "Plugin.test_searched_first", "Plugin.test_searched_first_while_it_is_loaded"],
              PROGRAM="device_plugin", INTERPOSER="libinterposer.so", PLUGINS=plugins, LINKED="")


def check_bad_luck():
    names = ("nothing", "context_is_reset", "freed_by_another_thread", "freed_after_a_fork", "freed_twice", "quick_exit")
    own_tests("test_device_bad_luck.py", [f"BadLuck.test_{name}" for name in names], PROGRAM="device_bad_luck", INTERPOSER="libinterposer.so")


def check_tool(name):
    """Another tool that stands in the same places."""
    tool, program = shutil.which(name), os.path.join(BUILD, "tests/gpu/device_cache")
    if not tool:
        raise Skip(f"no {name} here")
    if not os.path.exists(program):
        raise Skip(f"{program} is not built")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "tool.snap")
        plain = execute([tool, os.path.join(BUILD, "tests/gpu/device_bad_luck"), "nothing"])
        if plain.stdout.count("allocate 0") != 4:
            raise Skip(f"{name} does not work here: {(plain.stdout + plain.stderr).strip()[-200:]}")
        preloads = "import os; print('heapsnap' in os.environ.get('LD_PRELOAD', ''))"
        if "True" not in run([SNAP, "run", "-q", "-o", os.path.join(directory, "%p-%n.snap"), "--", tool, sys.executable, "-c", preloads]):
            raise Skip(f"{name} runs programs without what is to be preloaded")
        run([SNAP, "run", "-q", "-o", os.path.join(directory, "%p-%n.snap"), "--", tool, program, path, "1"])
        run([SNAP, "verify", path])


def check_torch_symbol():
    """PyTorch's allocators report through a function that is called across libraries, so that ours can stand in front."""
    if not has("torch"):
        raise Skip("no PyTorch here")
    directory = run([sys.executable, "-c", "import os, torch; print(os.path.join(os.path.dirname(torch.__file__), 'lib'))"]).strip()
    path = os.path.join(directory, "libc10_cuda.so")
    if not os.path.exists(path):
        raise Skip("this PyTorch has no CUDA")
    with open(path, "rb") as f:
        expect(b"_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE" in f.read(), f"{path} does not report")


def check_torch(mode):
    need_torch()
    if mode == "pool" and not has("torch", "torch.cuda.use_mem_pool"):
        raise Skip("this PyTorch has no pools")
    script = TENSORS.replace("torch.cuda.synchronize()\n", EXTRA.get(mode, "") + "torch.cuda.synchronize()\n")
    with_edges = mode == "default"
    out, devices, tables = snapshot_of(script, MODES[mode], *[] if with_edges else ["--no-edges"])
    allocated, reserved, needed = map(int, out.split())
    expect(devices, "no device in the snapshot")
    device = devices[0]
    live, cached = device["live_bytes"][0], device["cached_bytes"][0]
    print(f"# torch {mode}: allocated {allocated}, reserved {reserved}; live {live}, cached {cached}, "
          f"driver {device['reported_bytes'][0]}, rest {device['residual_bytes'][0]}")
    if mode not in ("async", "no cache"):
        blocks = sum(n["size"] for n in tables["NODE"] if n["kind"] == "device_block")
        pools = sum(p["size"] for p in tables["POOL"] if p["kind"].startswith("torch_"))
        expect(blocks == allocated, f"blocks are {blocks} bytes, PyTorch says {allocated}")
        expect(pools == reserved, f"segments are {pools} bytes, PyTorch says {reserved}")
        kinds = {p["kind"] for p in tables["POOL"]}
        expect(mode != "graph" or "torch_private" in kinds, f"the pool of a graph is not told apart: {kinds}")
    else:  # PyTorch knows what the driver made of it, or nothing
        expect(needed <= live, f"{live} bytes are live, tensors have {needed}")
    on_device = {n["id"] for n in tables["NODE"] if n["kind"].startswith("device_")}
    reached = on_device & {e["target"] for e in tables["EDGE"]}
    expect(len(reached) >= len(on_device) // 2 or not with_edges, f"of {len(on_device)} blocks {len(reached)} are held by anything")


def check_out_of_memory():
    """A snapshot is taken before PyTorch throws, and it throws as ever."""
    need_torch()
    with tempfile.TemporaryDirectory() as directory:
        out = run([SNAP, "run", "-q", "--no-edges", "--on-oom", "--oom-interval=0", "-o", os.path.join(directory, "oom%n.snap"), "--",
                   sys.executable, "-c", OUT_OF_MEMORY])
        expect(out == "out of memory\n", f"printed {out!r}")
        tables = [json.loads(run([SNAP, "convert", os.path.join(directory, name)]))["tables"] for name in os.listdir(directory)]
    labels = [row.get("text", "") for t in tables for row in t["META"] if row["key"] == "label"]
    expect(any(label.startswith("PyTorch's allocation of ") for label in labels), f"snapshots: {labels}")


def check_driver_total():
    need_torch()
    _, devices, tables = snapshot_of(TENSORS, {}, "--no-edges")
    device = devices[0]
    expect(device["name"], "the device has no name")
    if device["reported_bytes"] == [0]:
        raise Skip("the driver does not say what the process has (another pid namespace?)")
    parts = {key: device[f"{key}_bytes"][0] for key in ("live", "cached", "graph", "residual", "reported")}
    print("# " + ", ".join(f"{key} {value}" for key, value in parts.items()))
    expect(sum(parts.values()) == 2 * parts["reported"], "the parts are not the whole")
    expect(0 <= parts["residual"] < 4 << 30, f"the rest is {parts['residual']}")
    missing = [row["name"] for row in tables["META"] if row["key"] == "completeness"]
    expect("unseen_device_calls" not in missing, f"missing: {missing}")


def check_resources():
    """What the stand-in cannot show: handles and addresses as a driver makes them."""
    out, devices, tables = snapshot_of(RESOURCES, {})
    linear, mapped, shared, module = map(int, out.split())
    expect(devices, "no device in the snapshot")
    kinds = [r["kind"] for r in tables["RSRC"]]
    counts = {kind: kinds.count(kind) for kind in ("event", "stream", "graph", "graph_exec", "device_module", "context")}
    expect(counts == {"event": 2, "stream": 2, "graph": 1, "graph_exec": 1, "device_module": int(module == 0), "context": 1},
           f"resources: {counts}")
    sizes = {(n["kind"], n["size"]) for n in tables["NODE"]}
    expect({("device_linear", 3 << 20), ("device_physical", 4 << 20)} <= sizes, f"{sorted(s for s in sizes if s[0].startswith('device'))}")
    expect(any(n.get("address") == linear for n in tables["NODE"]), "the allocation is not at its address")
    expect("cuda_mempool" in {p["kind"] for p in tables["POOL"]}, "no pool")
    expect(devices[0]["live_bytes"] == [7 << 20], f"{devices[0]['live_bytes']} bytes are live")
    works = {what: "works" if error == 0 else f"error {error}" for what, error in (("sharing with another process", shared), ("code", module))}
    print(f"# mapped at {mapped:#x}; " + ", ".join(f"{what}: {text}" for what, text in works.items()))


def check_pairs():
    """Figures, not a verdict."""
    plain = list(map(float, run([sys.executable, "-c", PAIRS]).split()))
    with tempfile.TemporaryDirectory() as directory:
        command = [SNAP, "run", "-q", "--every", "1h", "-o", os.path.join(directory, "%n.snap"), "--", sys.executable, "-c", PAIRS]
        tracked = list(map(float, run(command).split()))
    for what, before, after in zip(("cuMemAlloc and cuMemFree", "cuMemAllocAsync and cuMemFreeAsync"), plain, tracked):
        print(f"# {what}: {before:.0f} ns, tracked {after:.0f} ns")


def check_module_loading():
    """Figures, not a verdict: what code takes of a device, which no allocation shows."""
    need_torch()
    for mode in "LAZY", "EAGER":
        _, devices, _ = snapshot_of(TENSORS, {"CUDA_MODULE_LOADING": mode}, "--no-edges")
        print(f"# modules loaded {mode}: the rest is {devices[0]['residual_bytes'][0] >> 20} MiB")


def check_rows(pattern):
    """Rows of the table of leak programs, on what device there is."""
    result = execute([sys.executable, os.path.join(HERE, "../leaks/score"), "--build", BUILD, "--jobs", "4", pattern])
    lines = result.stdout.strip().splitlines()
    match = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) not run", lines[-1] if lines else "")
    expect(match, f"status {result.returncode}: {result.stderr.strip()[-600:]}")
    expect(match[2] == "0", result.stdout)
    if match[3] != "0":
        raise Skip("; ".join(line.strip() for line in lines[:-1])[-600:])
    print("# " + lines[-1])


def check_cache_row():
    need_torch()
    check_rows("torch-cuda-cache")


def check_handles():
    need_torch()
    script = TENSORS + "\na = torch.ones(256, 256, device='cuda'); (a @ a).sum().item()\n"
    script += "ctypes.CDLL(sys.argv[2]).snap_take((sys.argv[1] + '2').encode(), None, None)\n"
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "gpu.snap")
        run([SNAP, "run", "-q", "--no-edges", "-o", os.path.join(directory, "%n.snap"), "--", sys.executable, "-c", script, path, LIBRARY])
        tables = json.loads(run([SNAP, "convert", path + "2"]))["tables"]
    kinds = {r["kind"] for r in tables["RSRC"]}
    expect("library_handle" in kinds, f"resources: {kinds}")


def check_profiler():
    need_torch()
    script = ("import torch\nfrom torch.profiler import profile, ProfilerActivity\n"
              "with profile(activities=[ProfilerActivity.CUDA]) as p:\n    (torch.ones(999, device='cuda') * 2).sum().item()\n"
              "print(len(p.key_averages()) > 0)")
    plain = run([sys.executable, "-c", script])
    with tempfile.TemporaryDirectory() as directory:
        tracked = run([SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", sys.executable, "-c", script])
    expect(plain == tracked, f"{plain!r} became {tracked!r}")


def check_fork_and_exit():
    need_torch()
    script = ("import torch\nfrom torch.utils.data import DataLoader\nkept = torch.ones(1 << 20, device='cuda')\n"
              "print(sum(float(b.sum()) for b in DataLoader(torch.ones(64, 4), batch_size=8, num_workers=2)))")
    with tempfile.TemporaryDirectory() as directory:
        out = run([SNAP, "run", "-q", "-o", os.path.join(directory, "%p-%n.snap"), "--", sys.executable, "-c", script])
    expect(out == "256.0\n", out)


def check_overhead():
    """A figure, not a verdict."""
    need_torch()
    script = ("import time, torch\ntorch.ones(1, device='cuda')\nt = time.perf_counter()\n"
              "for i in range(100000):\n    torch.empty(1000, device='cuda')\nprint((time.perf_counter() - t) * 1e4)")
    plain = float(run([sys.executable, "-c", script]))
    with tempfile.TemporaryDirectory() as directory:
        tracked = float(run([SNAP, "run", "-q", "--every", "1h", "-o", os.path.join(directory, "%n.snap"), "--", sys.executable, "-c", script]))
    print(f"# a tensor made and dropped: {plain:.0f} ns, tracked {tracked:.0f} ns")


def check_train_step():
    """A figure, not a verdict."""
    need_torch()
    script = ("import time, torch\nm = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(8)]).cuda()\n"
              "o = torch.optim.SGD(m.parameters(), lr=1e-3)\nx = torch.ones(64, 512, device='cuda')\n"
              "def step():\n    o.zero_grad(); m(x).sum().backward(); o.step()\n"
              "for i in range(20): step()\ntorch.cuda.synchronize(); t = time.perf_counter()\n"
              "for i in range(200): step()\ntorch.cuda.synchronize(); print((time.perf_counter() - t) * 5e3)")
    plain = float(run([sys.executable, "-c", script]))
    with tempfile.TemporaryDirectory() as directory:
        tracked = float(run([SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", sys.executable, "-c", script]))
    print(f"# a step of training: {plain:.0f} us, tracked {tracked:.0f} us")


def check_jax():
    if not has("jax", "jax.default_backend() == 'gpu'"):
        raise Skip("no JAX with CUDA here")
    script = ("import ctypes, sys, jax.numpy as np\nkept = [np.ones(n * 1000) for n in range(1, 200)]\n[k.block_until_ready() for k in kept]\n"
              "if ctypes.CDLL(sys.argv[2]).snap_take(sys.argv[1].encode(), None, None) != 0:\n    sys.exit('snap_take failed')\n"
              "print(sum(k.nbytes for k in kept))")
    for allocator in "platform", "cuda_async":
        out, devices, _ = snapshot_of(script, {"XLA_PYTHON_CLIENT_ALLOCATOR": allocator}, "--no-edges")
        live, needed = devices[0]["live_bytes"][0], int(out.split()[-1])
        print(f"# jax {allocator}: arrays of {needed} bytes, live {live}")
        expect(live >= needed, f"{allocator}: {live} bytes are live, arrays have {needed}")


def check_other_frameworks():
    if not has("cupy"):
        raise Skip("no CuPy here")
    script = TENSORS.replace("torch", "cupy").replace("cupy.empty(n * 1000, device=\"cuda\")", "cupy.empty(n * 1000)")
    script = script.replace("cupy.cuda.synchronize()", "cupy.cuda.Device().synchronize()")
    script = script.replace("cupy.cuda.memory_allocated(), cupy.cuda.memory_reserved()",
                            "cupy.get_default_memory_pool().total_bytes(), 0")
    out, devices, _ = snapshot_of(script, {}, "--no-edges")
    expect(devices[0]["live_bytes"][0] >= int(out.split()[0]), f"{devices[0]['live_bytes']} bytes are live, CuPy has {out}")


def no_driver():
    """Why there is no driver to be used; None: there is."""
    n = ctypes.c_int()
    if not os.environ.get("ANY_DRIVER") and not os.path.exists("/dev/nvidiactl"):
        return "no GPU here"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no driver here: {error}"
    for name, *arguments in ("cuInit", 0), ("cuDeviceGetCount", ctypes.byref(n)):
        if (result := getattr(driver, name)(*arguments)) != 0:
            return f"the driver does not work here: {name} says {result}"
    return None if n.value > 0 else "no GPU here"


def main():
    reason = no_driver()
    if reason:
        print(f"skipped: {reason}")
        return 77
    # What decides most comes first: the ten minutes may be over before the end.
    checks = {"recorder": check_recorder, "entry points": check_entry_points, "resources": check_resources, "caches": check_caches, "pools": check_pools,
              "NVTX": check_nvtx, "plugins": check_plugins, "bad luck": check_bad_luck, "leak programs": lambda: check_rows("cu-*"),
              "PyTorch's symbol": check_torch_symbol, "total of the driver": check_driver_total}
    checks.update({f"torch, {mode}": lambda mode=mode: check_torch(mode) for mode in MODES})
    checks.update({
        "out of memory": check_out_of_memory, "changing sizes": check_cache_row, "handles": check_handles, "fork and exit": check_fork_and_exit,
        "profiler": check_profiler, "compute-sanitizer": lambda: check_tool("compute-sanitizer"), "ncu": lambda: check_tool("ncu"),
        "calls": check_pairs, "overhead": check_overhead, "training": check_train_step, "module loading": check_module_loading,
        "JAX": check_jax, "other frameworks": check_other_frameworks})
    passed = failed = 0
    for name, check in checks.items():
        begun = time.monotonic()
        try:
            check()
            passed += 1
            print(f"ok      {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Skip as reason:
            print(f"skipped {name}: {reason}", flush=True)
        except Exception as error:  # one broken check must not hide the others
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
