"""examples/custom_runtime writes a sound snapshot whose content is what the program says.

    test_custom_runtime.py PROGRAM VERIFIER"""
import os
import subprocess
import sys
import tempfile

program, verifier = sys.argv[1:3]
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a.snap")
    subprocess.run([program, path], check=True, stdout=subprocess.DEVNULL)
    text = subprocess.run([verifier, path], check=True, stdout=subprocess.PIPE, text=True).stdout
    expected = ["NODE 2001", "EDGE 2000", "ROOT 1", "FRAM 3", "STAK 3", "SYMB 3", "TYPE 3",
                "total python 2001 %d" % (56 + 8000 + 1000 * (48 + 4096)),
                "site buffer.toy:8 Buffer.open 1000 4096000", "site server.toy:17 accept 1000 48000", "type Buffer 1000 4096000",
                "type_edge Session -> Buffer 1000", "type_edge list -> Session 1000",
                "stack Buffer.open buffer.toy:8 accept server.toy:17 main server.toy:3"]
    missing = [line for line in expected if line not in text.splitlines()]
    assert not missing, "%s\nnot in\n%s" % (missing, text)
    assert os.listdir(folder) == ["a.snap"]
    assert subprocess.run([program, os.path.join(folder, "no", "a.snap")], stderr=subprocess.DEVNULL).returncode == 2
