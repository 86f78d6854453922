"""Compares the recorder's table of the CUDA driver's functions with the list of all that give out or take back something, and
both with NVIDIA's headers where they are installed: names, versions, and what kind of value each parameter is."""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CALLS = os.path.join(HERE, "../../lib/capture/cuda_calls.def")
HEADERS = ["/usr/local/cuda/include", "/usr/include"]
WORDS = {"int", "unsigned", "unsigned int", "uint32_t", "CUdeviceptr_v1", "CUdevice", "CUdevice_v1"}
LONG = {"size_t", "uint64_t", "unsigned long long", "CUdeviceptr", "CUdeviceptr_v2", "cuuint64_t", "CUtexObject", "CUtexObject_v1",
        "CUsurfObject", "CUsurfObject_v1", "CUmemGenericAllocationHandle", "CUmemGenericAllocationHandle_v1"}
HANDLES = {"CUcontext", "CUstream", "CUevent", "CUmodule", "CUlibrary", "CUgraph", "CUgraphExec", "CUarray", "CUmipmappedArray",
           "CUmemoryPool", "CUexternalMemory", "CUexternalSemaphore", "CUlinkState", "CUgreenCtx", "CUdevResourceDesc", "CUgraphNode"}


# What the name of a function says that gives out or takes back something.
GIVES = re.compile(r"cu\w*(Create|Alloc|Register|Open|Import|Reserve|Load|Instantiate|Retain|Clone|Free|Destroy|Release|Unload|Close|Reset|"
                   "Attach|Detach)")


def split(text):
    """Parts between commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += character in "([{"
        depth -= character in ")]}"
        if character == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in parts + [text[start:]]]


def calls():
    """{symbol: (name, version, per-thread, parameters)} of the recorder."""
    with open(CALLS, encoding="ascii") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    result = {}
    for match in re.finditer(r"CUDA_CALL\(", text):
        end, depth = match.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        symbol, name, version, per_thread, parameters = split(text[match.end():end - 1])[:5]
        result[symbol] = (name.strip('"'), int(version), int(per_thread), parameters.strip("()"))
    return result


def kind(parameter):
    """How a parameter is passed: pointer, 8 bytes, 4 bytes, or a structure's name."""
    if "*" in parameter or "[" in parameter:
        return 8
    words = re.sub(r"\b(const|enum)\b", "", parameter).split()
    name = " ".join(words[:-1]) if len(words) > 1 else words[0]
    if name.startswith("struct ") or re.match(r"CUipc(Mem|Event)Handle", name):
        return "structure"
    if name in LONG or name in HANDLES:
        return 8
    if name in WORDS or re.match(r"CU[a-z]\w*(Type|_type|Mode|Flags|option|attribute)", name):
        return 4
    return f"unknown {name}"


def kinds(parameters):
    return [kind(p) for p in split(parameters) if p not in ("", "void")]


def header_types():
    for directory in HEADERS:
        path = os.path.join(directory, "cudaTypedefs.h")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            found = re.findall(r"\(CUDAAPI \*PFN_(\w+?)_v(\d+)(_ptsz|_ptds)?\)\((.*?)\);", text, flags=re.S)
            return {(name, int(version), int(bool(variant))): kinds(" ".join(parameters.split()))
                    for name, version, variant, parameters in found}
    return None


def main():
    wrapped, bad, n = calls(), [], 0
    with open(os.path.join(HERE, "entry_points.tsv"), encoding="ascii") as f:
        rows = [line.rstrip("\n").split("\t") for line in f if not line.startswith("#")]
    types = header_types()
    for symbol, name, version, per_thread, reason in rows:
        n += 1
        facts = (name, int(version), int(per_thread))
        if bool(reason) == (symbol in wrapped):
            bad.append(f"{symbol}: neither wrapped nor left alone for a reason, or both")
        elif symbol in wrapped and wrapped[symbol][:3] != facts:
            bad.append(f"{symbol}: {wrapped[symbol][:3]} is not {facts}")
        if types is None:
            continue
        if facts not in types:
            bad.append(f"{symbol}: {facts} is not in cudaTypedefs.h")
        elif symbol in wrapped and kinds(wrapped[symbol][3]) != types[facts]:
            bad.append(f"{symbol}: parameters {kinds(wrapped[symbol][3])}, in cudaTypedefs.h {types[facts]}")
    known = {(name, int(version), int(per_thread)) for _, name, version, per_thread, _ in rows}
    bad += [f"{facts}: gives out or takes back something by its name, and is not in the list" for facts in sorted(types or {})
            if GIVES.match(facts[0]) and facts not in known]
    bad += [f"{symbol}: on the path of launches or copies" for symbol in wrapped
            if re.match("cuLaunch|cuGraphLaunch|cuMemcpy|cuMemset|cuStreamSynchronize|cuStreamWait|cuEventRecord", symbol)]
    bad += [f"{symbol}: not in the list" for symbol in set(wrapped) - {row[0] for row in rows}]
    for line in bad:
        print("not ok -", line)
    print(f"# {n} entry points, {len(wrapped)} wrapped, {'compared with cudaTypedefs.h' if types else 'no headers of CUDA here'}")
    return 1 if bad or n < 100 else 0


sys.exit(main())
