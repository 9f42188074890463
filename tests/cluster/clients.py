"""Clients of the release's router, as processes of the node."""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from cluster import HERE, wait_for

# 50 ms a token, answers end at their limit only.
SLOW = {"maxNumSeqs": 64, "extraArgs": ["--sim-step-us", "50000", "--sim-output-tokens", "0"]}


class Load:
    """Clients that call in the background, `forever` until they are told to stop; what they saw."""

    def __init__(self, release, model, forever=True, **options):
        self.stop = pathlib.Path(tempfile.gettempdir()) / f"lps-stop-{os.getpid()}-{time.monotonic_ns()}"
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [HERE / "kin", sys.executable, HERE / "load.py", "--url", release.address(), "--model", model,
             *(["--forever", self.stop] if forever else []), *flags], stdout=subprocess.PIPE, text=True, env=release.cluster.env)
        self.calls, self.programs = [], options["programs"]
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def started(self):
        """Waits until as many calls have ended as there are programs."""
        wait_for("calls", lambda: self.process.poll() is not None or len(self.calls) >= self.programs)
        return self

    def read(self):
        for line in self.process.stdout:
            self.calls.append(json.loads(line))

    def end(self):
        """Lets the calls that are open come to their end; what all of them saw."""
        self.stop.touch()
        self.process.wait(300)
        self.reader.join()
        self.stop.unlink(missing_ok=True)
        return self.calls


def tell(what, calls):
    """Prints and gives back how the calls ended."""
    ends = collections.Counter(call["error"] or "complete" for call in calls)
    print(f"\n{what}: {len(calls)} calls: {dict(ends)}")
    return ends
