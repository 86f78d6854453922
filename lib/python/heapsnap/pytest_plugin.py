"""A plugin for pytest: tests that fail when what they do leaves memory behind.

    @pytest.mark.heapsnap(max_growth="1MB")
    def test_serves():
        serve(REQUEST)

The test runs once to warm up and then `repeats` times (3), with a snapshot after each run; garbage is collected before. It
fails if there is more than max_growth at the end than after the warm-up, and more after every run, and says what grew and who
holds it. Fixtures are made once for all runs. max_growth is a number of bytes or a text such as "64KiB" or "1MB", and 0 by
default. In a process started by `snap run -- python -m pytest` native memory counts, too, else objects of Python only.
"""
import functools
import os
import re
import tempfile

import pytest

import heapsnap

UNITS = {"": 1, "B": 1, **{p + "B": 1000**i for i, p in enumerate("KMGT", 1)}, **{p + "iB": 1024**i for i, p in enumerate("KMGT", 1)}}


def pytest_configure(config):
    config.addinivalue_line("markers", "heapsnap(max_growth=0, repeats=3, warmup=1): fail if the test leaves more memory behind with every run")


def parse_size(size):
    """Bytes of 4096, "4096", "64KiB", "1.5 MB"."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?i?B|)\s*", str(size))
    if not match or match[2] not in UNITS:
        raise ValueError(f"heapsnap: max_growth={size!r} is no size such as 4096, '64KiB' or '1MB'")
    return int(float(match[1]) * UNITS[match[2]])


def size_text(size):
    value, unit = float(abs(size)), 0
    while value >= 999.95 and unit < 4:
        value, unit = value / 1000, unit + 1
    return ("-" if size < 0 else "+") + (f"{value:.1f} " if unit else f"{value:.0f} ") + ("B", "KB", "MB", "GB", "TB")[unit]


def suspect_text(suspect):
    lines = [f"{suspect['class']}  {size_text(suspect['growth_bytes'])}  {suspect['type'] or '(unknown type)'}  {suspect['growth_count']:+d}"]
    if suspect["holder"]:
        lines.append("  held by " + suspect["holder"])
    lines += [f"    {'  ' * i}{'-> ' if i else ''}{step['edge']}  {step['node']}  x{step['count']}" for i, step in enumerate(suspect["chain"][:12])]
    frames = [frame for frame in suspect["site"] if not frame.get("allocator")]
    lines += ["  allocated by"] * bool(frames)
    lines += [f"    {frame['function'] or '?'}  {os.path.basename(frame['file'])}:{frame['line']}" for frame in frames[:6]]
    return "\n".join([*lines, "  -> " + suspect["advice"]])


def findings(report, in_use):
    """What grew, for people: suspects, else types."""
    series = " -> ".join(size_text(value)[1:] for value in in_use)
    parts = [f"memory in use grows with every run: {size_text(in_use[-1] - in_use[0])} ({series})"]
    parts += [suspect_text(suspect) for suspect in sorted(report["suspects"], key=lambda suspect: not suspect["holder"])[:3]]
    if not report["suspects"]:
        parts += [f"{size_text(row['growth_bytes'])}  {row['growth_count']:+d}  {row['type']}" for row in report["types"][:5] if row["growth_bytes"] > 0]
    return "\n\n".join(parts)


def check(run, max_growth=0, repeats=3, warmup=1):
    """Calls run, and returns None or, if it leaves more than max_growth bytes behind, what grew."""
    limit = parse_size(max_growth)
    if repeats < 2:
        raise ValueError("heapsnap: repeats must be 2 or more")
    for _ in range(warmup):
        run()
    with tempfile.TemporaryDirectory(prefix="heapsnap-") as folder:
        paths = [os.path.join(folder, f"{i}.snap") for i in range(repeats + 1)]
        # The first snapshot brings into memory what all of them need.
        heapsnap.snap(os.path.join(folder, "warm-up.snap"), collect=True)
        heapsnap.snap(paths[0], step=0, collect=True)
        for i in range(1, repeats + 1):
            run()
            heapsnap.snap(paths[i], step=i, collect=True)
        report = heapsnap.diff(paths)
    in_use = [sum(domain["bytes"] for domain in snapshot["totals"].values()) for snapshot in report["snapshots"]]
    grew = in_use[-1] - in_use[0] > limit and all(a < b for a, b in zip(in_use, in_use[1:]))
    return findings(report, in_use) if grew else None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    marker = pyfuncitem.get_closest_marker("heapsnap")
    if marker is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    text = check(functools.partial(pyfuncitem.obj, **arguments), *marker.args, **marker.kwargs)
    if text is not None:
        pytest.fail("heapsnap: " + text, pytrace=False)
    return True
