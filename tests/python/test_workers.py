"""Workers of a DataLoader whose dataset is a list of Python objects: looking at them copies the list's memory into each worker, page
by page. snapdiff says so, and that it is no leak; a dataset in an array says nothing of the kind.

test_workers.py Untracked: the module takes the snapshots. Tracked: the same under `snap run`."""
import importlib.util
import sys
import unittest

from graph import SNAP, Program

if importlib.util.find_spec("torch") is None:
    print("no torch")
    sys.exit(77)

PROGRAM = """
import torch
N, BATCH = 600000, 2000
class Listed(torch.utils.data.Dataset):
    def __init__(self):
        self.rows = [str(i) for i in range(N)] if sys.argv[1] == "list" else torch.arange(N)
    def __len__(self):
        return N
    def __getitem__(self, i):
        return len(self.rows[i]) if sys.argv[1] == "list" else self.rows[i].item()
def main():
    data = Listed()
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=2, persistent_workers=True)
    bytes_ = sum(map(sys.getsizeof, data.rows)) if sys.argv[1] == "list" else 0
    for i, batch in enumerate(loader, 1):
        if i % (N // BATCH // 6) == 0 and i < N // BATCH:
            snap(f"{i // (N // BATCH // 6)}")
    folder = os.path.dirname(os.path.abspath(__file__))
    report = heapsnap.diff([os.path.join(folder, f"{k}.snap") for k in range(1, 6)])
    print(json.dumps({"bytes": bytes_, "not_leaks": report["not_leaks"], "suspects": report["suspects"], "limits": report["limits"]}))
if __name__ == "__main__":
    main()
"""


class Untracked(unittest.TestCase):
    command = ()

    def copied(self, said):
        return [row for row in said["not_leaks"] if row["class"] == "copy-on-write"]

    def test_a_list_of_objects_is_copied(self):
        said = Program(PROGRAM, "list", command=self.command).said
        (row,) = self.copied(said)
        self.assertRegex(row["explanation"], r"^private pages of 2 child processes \+.* arrays ")
        # Four of six parts of it, less what the workers have looked at ahead.
        self.assertGreater(row["bytes"], said["bytes"] / 2)
        self.assertLess(row["bytes"], said["bytes"] * 2)
        self.assertEqual([(s["class"], s["holder"]) for s in said["suspects"]], [])

    def test_an_array_is_not(self):
        said = Program(PROGRAM, "array", command=self.command).said
        self.assertEqual(self.copied(said), [])
        self.assertNotIn("child process", " ".join(said["limits"]))


class Tracked(Untracked):
    command = (SNAP, "run", "-q", "-o", "exit.snap", "--")


if __name__ == "__main__":
    unittest.main()
