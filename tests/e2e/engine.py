"""One engine as a process, without a router, for tests that ask the engine itself.

Owns: starting, asking and ending it. Knows nothing of what a test wants from it.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import urllib.request

from stack import BIN, metric, wait_for


class Engine:
    """`lps-engine` on ports of its own; a context manager that leaves no process behind. `before` is called in the new
    process before the program is: it puts it into a control group, or on some processors."""

    def __init__(self, folder, *arguments, model="builtin:demo", before=None, environment=None, scheme="http"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        addresses = self.folder / "addresses"
        self.command = [BIN / "lps-engine", "--model", model, "--port", "0", "--address-file", addresses, *arguments]
        self.scheme = scheme
        self.before, self.environment = before, {**os.environ, **(environment or {})}

    def launch(self):
        """Starts the process; does not wait."""
        self.addresses = self.folder / "addresses"
        self.addresses.unlink(missing_ok=True)
        with open(self.folder / "engine.log", "wb") as log:
            self.process = subprocess.Popen([str(part) for part in self.command], stdout=log, stderr=subprocess.STDOUT,
                                            preexec_fn=self.before, env=self.environment)

    def __enter__(self):
        self.launch()
        try:
            wait_for("the engine to be ready", self._ready)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the engine did not end:\n{self.output()}") from None
        assert code == 0, f"the engine ended with {code}:\n{self.output()}"

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the engine ended with {self.process.returncode}:\n{self.output()}")
        if not self.addresses.exists():
            return False
        http, admin = self.addresses.read_text().split()
        self.url, self.admin = f"{self.scheme}://{http}", f"http://{admin}"
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.admin}/readyz", timeout=30).status == 200
        return False

    def output(self):
        """What it printed so far."""
        return (self.folder / "engine.log").read_text(errors="replace")

    def metric(self, name):
        """The sum of a metric's series."""
        return metric(f"{self.admin}/metrics", name)

    def post(self, path, body):
        """The JSON answer of a POST."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.loads(answer.read())

    def events(self, *wanted):
        """The lines of a new event stream by type, until there is one of each type that is wanted."""
        lines = {}
        with urllib.request.urlopen(f"{self.url}/internal/v1/events", timeout=30) as stream:
            for line in stream:
                event = json.loads(line)
                lines.setdefault(event["type"], []).append(event)
                if all(kind in lines for kind in wanted):
                    return lines
        raise AssertionError(f"the event stream ended before it had lines of {wanted}")

    def memory(self):
        """Figures of /proc/PID/status in bytes, `VmRSS` and the like."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        figures = (line.split() for line in lines if line.endswith(" kB"))
        return {name.rstrip(":"): int(kib) << 10 for name, kib, _ in figures}
