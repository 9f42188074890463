"""`make soak`: programs of all kinds, clients that leave and cancel, engines that are killed; afterwards the router has nothing
left of them. `-m long` plays all of a day, and asks that memory stays."""

import json
import subprocess
import sys

import pytest
from stack import BIN, ROOT


def soak(folder, *arguments):
    """What it found."""
    command = [sys.executable, ROOT / "scripts/bench/soak.py", "--bin", BIN, "--out", folder, "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=3_600)
    assert done.returncode in (0, 1), done.stderr
    print(done.stderr)
    return json.loads(done.stdout)


def test_nothing_is_left_of_many_programs(tmp_path):
    told = soak(tmp_path, "--programs", "500", "--short")
    assert all(told["held"].values()), told
    # Each of what may befall a call did.
    assert min(told["seen"][name] for name in ("answered", "left", "cancelled")) > 0, told
    assert (tmp_path / "soak.svg").read_text().startswith("<svg ")


@pytest.mark.long
def test_nothing_is_left_of_a_day(tmp_path):
    told = soak(tmp_path)
    assert all(told["held"].values()), told
