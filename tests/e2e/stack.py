"""A running stack, as a user would start it: `lps up` with a manifest, on ports of its own.

Owns: starting, finding and ending processes. Knows nothing of what a test wants from them.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ["LPS_TEST_BIN"])
WAIT_S_MAX = 120.0


def wait_for(what, condition, timeout_s=WAIT_S_MAX):
    """Polls until `condition()` is true and returns its value; fails with `what` after the bound."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.02)


def free_port():
    """A port that nobody listens on at this moment, and that no connection is given before somebody does."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def metric(url, name):
    """The sum of a metric's series on an admin port, whatever their labels."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def manifest(name="demo", *, builtin="demo", engines=1, slots=None, scheduling=None, **engine):
    """An `LLMProgramServing` of a built-in model with a fixed number of engines."""
    if slots:
        engine["maxNumSeqs"] = slots
    spec = {
        "model": {"name": name, "source": {"builtin": builtin}},
        "engine": {"device": "cpu", **engine},
        "scaling": {"min": engines, "max": engines},
    }
    if scheduling:
        spec["scheduling"] = scheduling
    return {
        "apiVersion": "llmprogram.dev/v1alpha1",
        "kind": "LLMProgramServing",
        "metadata": {"name": name},
        "spec": spec,
    }


def children(pid):
    """Process ids of the direct children of `pid`."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def alive(pid):
    """Whether a process is there and not a zombie."""
    with contextlib.suppress(OSError, IndexError):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    return False


class Served:
    """A router that listens, whoever started it."""

    def __init__(self, key=None, context=None):
        self.port, self.admin_port = free_port(), free_port()
        # Whom this class believes, where the router speaks TLS.
        self.context = context
        # The API key that this class asks with, where the router wants one.
        self.headers = {"x-api-key": key} if key else {}

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def get(self, path, port=None):
        """The JSON answer of a GET."""
        url = f"http://127.0.0.1:{port}" if port else self.url
        request = urllib.request.Request(url + path, headers=self.headers)
        with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
            return json.loads(answer.read())

    def post(self, path, body, headers=None):
        """(status, JSON) of a POST; `body` may be bytes for what is not JSON."""
        status, _, answer = self.post_whole(path, body, headers)
        return status, answer

    def post_whole(self, path, body, headers=None):
        """(status, headers, JSON) of a POST."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **self.headers, **(headers or {})}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=120, context=self.context) as answer:
                return answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.loads(error.read())

    def metric(self, name):
        """The sum of a metric's series on the router's admin port."""
        return metric(f"http://127.0.0.1:{self.admin_port}/metrics", name)

    def engines(self):
        """The engines that the router knows."""
        return self.get("/v1/engines")["data"]

    def program(self, program):
        """One program's row, threads and calls."""
        return self.get(f"/v1/programs/{program}")


class Stack(Served):
    """`lps up` on a manifest; a context manager that leaves no process behind."""

    def __init__(self, folder, *manifests, arguments=(), environment=None, key=None):
        super().__init__(key)
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manifests = list(manifests)
        self.arguments = [str(a) for a in arguments]
        self.environment = {**os.environ, **(environment or {})}
        self.process = None

    def __enter__(self):
        self.launch()
        wait_for("all engines to be ready", self._ready)
        return self

    def __exit__(self, *_):
        self.end()

    def launch(self):
        """Starts the process; does not wait."""
        file = self.folder / "manifest.json"
        # YAML is a superset of JSON; several resources are several documents.
        file.write_text("\n---\n".join(json.dumps(m) for m in self.manifests))
        self.log = open(self.folder / "lps.log", "wb")
        self.process = subprocess.Popen(
            [BIN / "lps", "up", file, "--port", str(self.port), "--admin-port", str(self.admin_port),
             "--state-dir", self.folder / "state", *self.arguments],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=ROOT, env=self.environment,
        )

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"lps up ended with {self.process.returncode}:\n{self.output()}")
        wanted = sum(m["spec"]["scaling"]["min"] for m in self.manifests)
        try:
            return len([e for e in self.engines() if not e.get("draining")]) >= wanted
        except OSError:
            return False

    def end(self, how=signal.SIGTERM):
        """Ends the stack and returns its exit code; fails when a process outlives it."""
        engines = self.engine_pids()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"lps up did not end:\n{self.output()}") from None
        wait_for("the engines to end", lambda: not any(alive(p) for p in engines), 20)
        self.log.close()
        return code

    def engine_pids(self):
        """Process ids of the engines."""
        return children(self.process.pid)

    def output(self):
        """What `lps up` printed so far."""
        return (self.folder / "lps.log").read_text(errors="replace")
