"""Servers of `make bench-router` and `make soak` as processes: started, found ready, read in /proc, and ended. Must not know what is measured."""
import contextlib
import http.client
import json
import os
import random
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import child

READY_LIMIT_S = 60
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    """A port that nobody listens on now, and outside of those that connections are given."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def environment():
    """Without what would change a router behind the back of its command line."""
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    return {key: value for key, value in os.environ.items() if not key.startswith("LPS_") and key.lower() not in proxies}


class Server:
    """A process, and those that it starts; a context manager that leaves none behind."""

    def __init__(self, command, **popen):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(part) for part in command], env=environment(), stdin=subprocess.DEVNULL,
                                        stderr=self.log, start_new_session=True, **({"stdout": self.log} | popen))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        child.end(self.process)
        self.log.close()

    def check(self):
        """Fails with its last words when it has ended."""
        if self.process.poll() is not None:
            raise child.Failed(child.last_words(self.log, self.process.returncode))

    def stats(self):
        """The fields of /proc/PID/stat after the name, of each process of its session."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == self.process.pid:
                    yield fields

    def cpu_s(self):
        """Processors' time so far, in programs and in the kernel."""
        return sum(int(fields[11]) + int(fields[12]) for fields in self.stats()) / TICKS

    def rss_mb(self):
        """Resident memory, megabytes."""
        return sum(int(fields[21]) for fields in self.stats()) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Engine(Server):
    """The engine that answers at once (`router/examples/bench_router`)."""

    def __init__(self, program, *arguments):
        super().__init__([program, "engine", *arguments], stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.check()
        addresses = json.loads(line)
        self.address, self.control = addresses["engine"], addresses["control"]

    def turn(self, way):
        """From now on calls are answered so; the arrivals before are forgotten."""
        status, _ = ask(self.control, "POST", f"/{way}")
        if status != 200:
            raise child.Failed(f"the engine does not know the way {way}")

    def arrivals(self):
        """When calls came since, in seconds."""
        return json.loads(ask(self.control, "GET", "/")[1])["arrivals_s"]

    def refuses(self):
        """Whether it takes no connection."""
        host, port = self.address.split(":")
        with contextlib.closing(socket.socket()) as probe:
            return probe.connect_ex((host, int(port))) != 0


def ask(address, method, path, body=None, limit_s=30.0):
    """(status, body) of one request on a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=limit_s)) as connection:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def wait_until(what, condition, server):
    """Polls until the condition holds; fails when the server ends, or after the limit."""
    deadline = time.monotonic() + READY_LIMIT_S
    while not condition():
        server.check()
        if time.monotonic() > deadline:
            raise child.Failed(f"waited {READY_LIMIT_S} s for {what}")
        time.sleep(0.02)


def call(address, body, limit_s=30.0):
    """The status of one call; `None` where there was no answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(address, "POST", "/v1/chat/completions", body, limit_s)[0]
    return None
