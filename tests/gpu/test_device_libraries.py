"""NVIDIA's own libraries, as far as they are here: each asks the driver through a runtime of its own, and must get the recorder's functions,
whichever way it was opened. Looked for where Python's packages have them, in the toolkit's folder, and in NVIDIA_LIBRARIES (folders, with a
colon between). The argument is the program."""
import glob
import os
import subprocess
import sys
import tempfile

STARTS = {  # and the third argument, where it matters
    "libcudart.so.*": "cudaFree",
    "libcublas.so.*": "cublasCreate_v2",
    "libcublasLt.so.*": "cublasLtCreate",
    "libcudnn.so.*": "cudnnCreate",
    "libcusolver.so.*": "cusolverDnCreate",
    "libcusparse.so.*": "cusparseCreate",
    "libcurand.so.*": "curandCreateGenerator",
    "libcufft.so.*": "cufftPlan1d 0x29",
    "libnccl.so.*": "ncclCommInitAll",
}


def folders():
    roots = [path for base in sys.path for path in glob.glob(os.path.join(base, "nvidia"))]
    found = os.environ.get("NVIDIA_LIBRARIES", "").split(":") + [lib for root in roots for lib in glob.glob(os.path.join(root, "*/lib"))]
    return [path for path in found + ["/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu"] if path and os.path.isdir(path)]


def main():
    places = folders()
    libraries = {}
    for pattern, start in STARTS.items():
        for place in places:
            for path in glob.glob(os.path.join(place, pattern)):
                libraries.setdefault(os.path.realpath(path), start)
    n = n_skipped = n_failed = 0
    path = ":".join([os.environ["LD_LIBRARY_PATH"], *places])
    for library, start in sorted(libraries.items()):
        for how in "local", "deep":
            with tempfile.TemporaryDirectory() as directory:
                environment = dict(os.environ, FAKE_CUDA_LOG=os.path.join(directory, "log"), LD_LIBRARY_PATH=path)
                run = subprocess.run([sys.argv[1], library, start.split()[0], how, (start + " 0").split()[1]], capture_output=True, text=True, env=environment, timeout=120)
            n += run.returncode == 0
            n_skipped += run.returncode == 77
            n_failed += run.returncode not in (0, 77)
            print(f"{os.path.basename(library)} {how}: status {run.returncode}, {run.stdout.strip()} {run.stderr.strip()[-300:]}")
    if not n and not n_failed and not n_skipped:
        print("none of NVIDIA's libraries is here")
        return 77
    print(f"{n} as they should, {n_failed} not, {n_skipped} that cannot be loaded")
    if n_failed:
        return 1
    return 0 if n else 77


sys.exit(main())
