"""A program on a terminal, as a user has it: started by a shell on a pty, with the screen that its output makes.

Owns: keys, sizes, what is on the screen, and whether the terminal is given back as it was. Knows nothing of the program.
"""

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import termios

import pyte
from stack import children, wait_for

SHELL = 'echo "modes $(stty -g)"; "$@"; echo "code $?"; echo "modes $(stty -g)"; read -r _'


class Terminal:
    """A context manager; the program begins at once, and has ended when it is left."""

    def __init__(self, *command, size=(120, 30), environment=None):
        self.ours, theirs = os.openpty()
        os.set_blocking(self.ours, False)
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.resize(size)
        self.process = subprocess.Popen(
            ["sh", "-c", SHELL, "sh", *map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.pids():
            os.kill(pid, 9)
        with contextlib.suppress(OSError):
            self.press(b"\n")
        self.process.wait(60)
        os.close(self.ours)

    def pids(self):
        """The program, while it runs."""
        return children(self.process.pid)

    def press(self, keys):
        """What is typed."""
        os.write(self.ours, keys)

    def resize(self, size):
        """Another size, in columns and lines."""
        columns, lines = size
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def lines(self):
        """What is on the screen."""
        with contextlib.suppress(OSError):
            while piece := os.read(self.ours, 1 << 16):
                self.output += piece
                self.stream.feed(piece)
        return [line.rstrip() for line in self.screen.display]

    def wait_for(self, *texts):
        """Waits until all these are on the screen, and returns it; fails with what is there."""
        try:
            wait_for(f"{texts} on the screen", lambda: all(text in "\n".join(self.lines()) for text in texts), 30)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n" + "\n".join(self.screen.display)) from None
        return "\n".join(self.lines())

    def end(self):
        """The program's exit code, once it has ended. Fails where the terminal is not as it was."""
        ended = re.compile(rb"code (\d+)\r?\nmodes (\S+)")
        wait_for("the program to end", lambda: self.lines() and ended.search(self.output), 30)
        code, modes = ended.search(self.output).groups()
        assert self.output.startswith(b"modes " + modes), self.output
        for on, off in [(b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h")]:
            assert self.output.rfind(on) < self.output.rfind(off), f"{off} is missing"
        return int(code)
