"""One router as a process, on engines that somebody else started, for tests that end it and keep the engines.

Owns: starting, asking and ending it. Knows nothing of what a test wants from it.
"""

import pathlib
import subprocess
import urllib.error
import urllib.request

from stack import BIN, Served, wait_for


class Router(Served):
    """`lps-router` on ports of its own; a context manager that leaves no process behind. It can be launched again."""

    def __init__(self, folder, engines, *arguments, model="demo", context=None):
        super().__init__(context=context)
        self.log = pathlib.Path(folder) / "router.log"
        self.engine_count = len(engines)
        self.command = [BIN / "lps-router", "--port", str(self.port), "--admin-port", str(self.admin_port), *arguments]
        for engine in engines:
            self.command += ["--engine", f"{model}={engine.url}"]

    def __enter__(self):
        self.launch()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def launch(self):
        """Starts the process, and waits until it knows its engines."""
        self.start()
        wait_for("the router to know its engines", self._knows)

    def start(self):
        """Starts the process, and waits for nothing."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)

    def output(self):
        """What it printed so far."""
        return self.log.read_text(errors="replace")

    def _knows(self):
        if self.process.poll() is not None:
            raise AssertionError(f"lps-router ended with {self.process.returncode}:\n{self.log.read_text()}")
        try:
            return len(self.engines()) == self.engine_count
        except OSError:
            return False

    def is_ready(self):
        """Whether new programs may come."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=30) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            error.close()
            return False
