"""Runs a leak program in Python with a peer inside, used as its documentation says, and prints what it names first.

    peers_inside.py TOOL PROGRAM

The peer looks after the first round and after the last one."""
import io
import runpy
import sys

import rounds

tool, program = sys.argv[1:3]


def tracemalloc_start():
    import tracemalloc
    tracemalloc.start(25)


def tracemalloc_look(state):
    import tracemalloc
    snapshot = tracemalloc.take_snapshot()
    if "first" in state:
        print(snapshot.compare_to(state["first"], "lineno")[0])
    state["first"] = snapshot


def objgraph_look(state):
    import objgraph
    grown = objgraph.growth(limit=1)
    if "first" in state and grown:
        name = grown[0][0]
        print("growth", grown[0])
        chain = objgraph.find_backref_chain(objgraph.by_type(name)[-1], objgraph.is_proper_module)
        text = io.StringIO()
        objgraph.show_chain(chain, output=text)
        print(text.getvalue())
    state["first"] = True


def pympler_look(state):
    from pympler import tracker
    if "first" not in state:
        state["first"] = tracker.SummaryTracker()
        state["first"].diff()
        return
    rows = sorted(state["first"].diff(), key=lambda row: -row[2])
    print(rows[0])


def guppy_look(state):
    import guppy
    if "first" not in state:
        state["first"] = guppy.hpy()
        state["first"].setrelheap()
        return
    heap = state["first"].heap()
    print(heap[0])
    print(heap[0].byvia[0])
    print(heap[0].byid[0].sp)


looks = {"tracemalloc": tracemalloc_look, "objgraph": objgraph_look, "pympler": pympler_look, "guppy3": guppy_look}
if tool == "tracemalloc":
    tracemalloc_start()
kept = {}


def end(number, leaked=0, of_process=False):
    if number in (1, rounds.N_ROUNDS):
        looks[tool](kept)


rounds.end = end
sys.argv = [program, "leak"]
runpy.run_path(program, run_name="__main__")
