"""`lps sim` shows how far it is to who looks at a terminal, and to nobody else."""

import os
import pty
import subprocess

from stack import BIN

ARGUMENTS = ["sim", "--workload", "react,programs=300", "--policy", "atlas,fcfs"]


def on_a_terminal(*arguments):
    """Standard output, and what a terminal on standard error gets."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([BIN / "lps", *ARGUMENTS, *arguments], stdout=subprocess.PIPE, stderr=theirs, text=True,
                          env={**os.environ, "TERM": "xterm"}) as sim:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # Linux says so at the end.
        finally:
            os.close(ours)
        table = sim.stdout.read()
    assert sim.returncode == 0, shown
    return table, shown.decode()


def test_a_terminal_gets_a_bar_and_a_file_gets_the_same_table_without():
    table, shown = on_a_terminal()
    for words in ("atlas: ", "fcfs: ", "of 300 programs", "s simulated in", "calls a second"):
        assert words in shown, shown
    done = subprocess.run([BIN / "lps", *ARGUMENTS], capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout, done.stderr) == (table, "")


def test_json_has_no_bar():
    assert on_a_terminal("--json")[1] == ""
