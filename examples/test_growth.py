"""Tests that fail when what they do leaves memory behind: pytest -p heapsnap.pytest_plugin examples/test_growth.py

A twin of the first keeps what it has read; run with HEAPSNAP_LEAK=1, it is the test that fails."""
import os

import pytest

history = []


def parse(text):
    return [{"name": name, "size": len(name)} for name in text.split()]


@pytest.mark.heapsnap(max_growth="16KB")
def test_parse():
    records = parse("alpha beta gamma " * 500)
    assert len(records) == 1500


@pytest.mark.heapsnap(max_growth="16KB")
@pytest.mark.skipif("HEAPSNAP_LEAK" not in os.environ, reason="the twin that leaks")
def test_parse_and_keep():
    records = parse("alpha beta gamma " * 500)
    history.append(records)
    assert len(records) == 1500
