#!/usr/bin/env python3
"""A day of our router in minutes: `make soak`.

    scripts/bench/soak.py [--programs 20000] [--clients 64] [--seed 1] [--bin DIR] [--out DIR] [--json]

Programs of ten calls each, of several tenants, streamed and not, on two engines one of which is killed now and then and comes
back. Memory and tables are read as the calls go on. At the end, when all programs are over, the tables have to be empty, and
memory as large as before. `soak.csv` gets a row a reading, `soak.svg` shows them, `soak.json` what was found; with --json
that is printed instead of the table. The exit code says whether all held. docs/performance-router.md says what is asked.
"""
import argparse
import contextlib
import csv
import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import arms
import child
import router_servers
import router_work
from picture import curves
from router import build

# The clients write a line every so many calls. After so many an engine is killed, seldom enough that no slow call loses two of
# them, which would be told to its client; it comes back at the next line.
CALLS_PER_LINE = 500
KILLS, LINES_PER_KILL_MIN = 20, 4
# Memory: the most of the last half beside the most of the quarter before it.
GROWTH_MAX = 1.1
# As /proc/net/tcp says it.
LISTENS = "0A"
# Tasks more than at first: metrics are up to a second old. What leaks does so by the call, and is many.
SPARE_MAX = 4
# Programs whose clients lost their names live for five minutes; all others are over after seconds.
OVER_LIMIT_S = 330
FIELDS = ["seconds", "calls", "answered", "left", "cancelled", "failed", "rss_mb", "sockets", "clients", "live_programs", "ended_programs",
          "open_calls", "known_calls", "tasks", "waiting_calls", "running_calls", "engines"]
EMPTY = ["live_programs", "open_calls", "waiting_calls", "running_calls", "clients"]


class Router:
    """Our router on two engines, as a process that can be read."""

    def __init__(self, stack, programs):
        self.programs = programs
        self.engines = [stack.enter_context(self.engine("127.0.0.1:0")) for _ in range(2)]
        self.stack = stack
        self.port, self.admin = router_servers.free_port(), router_servers.free_port()
        self.address = f"127.0.0.1:{self.port}"
        served = [part for engine in self.engines for part in ("--engine", f"{router_work.MODEL}=http://{engine.address}")]
        command = [programs / "lps-router", *served, "--port", self.port, "--admin-port", self.admin, "--drain-grace", "0s"]
        self.server = stack.enter_context(router_servers.Server(command))
        router_servers.wait_until("the router to know both engines", lambda: self.knows(2), self.server)
        self.began = time.monotonic()

    def engine(self, address):
        return router_servers.Engine(self.programs / "examples" / "bench_router", "--at", address, "--way", "asked")

    def knows(self, engines):
        with contextlib.suppress(OSError):
            return self.kept()["engines"] == engines
        return False

    def kill(self, number):
        self.engines[number].process.kill()
        self.engines[number].process.wait()

    def revive(self, number):
        self.engines[number] = self.stack.enter_context(self.engine(self.engines[number].address))

    def kept(self):
        """What the router says of its tables."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        kept = {name: int(count) for name, count in re.findall(r'^lps_router_kept{what="(\w+)"} (\d+)$', text, re.M)}
        pool = re.findall(r'^lps_router_(waiting_calls|running_calls|engines){model="\w+"} (\d+)$', text, re.M)
        return kept | {name: int(count) for name, count in pool}

    def sockets(self):
        """Those of the process, and those of them whose other end is a client."""
        own = set()
        for descriptor in Path(f"/proc/{self.server.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                own.add(descriptor.readlink().name)
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        of_clients = [line for line in lines if line[1].endswith(f":{self.port:04X}") and line[3] != LISTENS]
        return {"sockets": sum(name.startswith("socket:") for name in own),
                "clients": sum(f"socket:[{line[9]}]" in own for line in of_clients)}

    def sample(self, seen):
        """A row."""
        figures = {"seconds": round(time.monotonic() - self.began, 1), "rss_mb": round(self.server.rss_mb(), 1)}
        return {name: value for name, value in (figures | self.sockets() | seen | self.kept()).items() if name in FIELDS}


def play(router, given, keep):
    """Plays all programs; `keep` gets each reading."""
    command = [router.programs / "examples" / "bench_router", "soak", "--to", router.address, "--programs", str(given.programs),
               "--clients", str(given.clients), "--seed", str(given.seed)]
    clients = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    killed, seen = None, {}
    # A slow call that loses two engines, one after the other, fails: in a short run there is one to lose.
    kills = 1 if given.short else KILLS
    lines_per_kill = max(10 * given.programs // CALLS_PER_LINE // kills, LINES_PER_KILL_MIN)
    try:
        for number, line in enumerate(clients.stdout):
            router.server.check()
            seen = json.loads(line)
            if killed is not None:
                router.revive(killed)
                killed = None
            elif number % lines_per_kill == lines_per_kill - 2:
                killed = number // lines_per_kill % 2
                router.kill(killed)
            keep(router.sample(seen))
        if clients.wait() != 0:
            raise child.Failed(f"the clients ended with {clients.returncode}")
    finally:
        clients.kill()
        clients.wait()
        if killed is not None:
            router.revive(killed)
    return seen


def settle(router, seen, keep):
    """Waits until nothing is live, and reads a last time."""
    deadline = time.monotonic() + OVER_LIMIT_S
    while (kept := router.sample(seen)) and any(kept[name] for name in EMPTY) and time.monotonic() < deadline:
        keep(kept)
        time.sleep(2)
    keep(kept)


def growth(samples):
    """The most memory of the last half of the calls, over the most of the quarter before; `None` where there are too few."""
    last = samples[-1]["calls"]
    most = lambda low, high: max((each["rss_mb"] for each in samples if low * last < each["calls"] <= high * last), default=None)
    before, after = most(0.25, 0.5), most(0.5, 1)
    return round(after / before, 3) if before and after else None


def spare(sample):
    """Tasks that are no connection's."""
    return sample["tasks"] - sample["sockets"]


def judged(before, samples, seen, given):
    """What held, each with its figure."""
    last = samples[-1]
    held = {
        "every call came to an end": (seen["calls"] == 10 * given.programs, seen["calls"]),
        "no call failed, whatever engines did": (seen["failed"] == 0, seen["failed"]),
        "tables are empty and clients gone": (not any(last[name] for name in EMPTY), {name: last[name] for name in EMPTY}),
        # Each connection, also one to an engine that is kept for the next call, is a task.
        "no task is left but one a connection": (spare(last) <= spare(before) + SPARE_MAX, [spare(before), spare(last)]),
    }
    if not given.short:
        grown = growth(samples)
        held[f"memory grows at most to {GROWTH_MAX}"] = (grown is not None and grown <= GROWTH_MAX, grown)
    return held


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", type=int, default=20_000, help="of ten calls each")
    parser.add_argument("--clients", type=int, default=64, help="programs at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="too few calls to say something of memory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bin", type=Path, help="folder of built programs, instead of building them")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main():
    given = options()
    cache = subprocess.run([arms.ROOT / "scripts" / "cache-dir.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    out = given.out or Path(cache) / "soak"
    out.mkdir(parents=True, exist_ok=True)
    programs = (given.bin or build()).resolve()
    samples = []
    with contextlib.ExitStack() as stack, open(out / "soak.csv", "w", newline="") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()

        def keep(sample):
            samples.append(sample)
            table.writerow(sample)
            file.flush()
            print(" ".join(f"{name}={value}" for name, value in sample.items()), file=sys.stderr, flush=True)

        router = Router(stack, programs)
        before = router.sample({"calls": 0})
        seen = play(router, given, keep)
        settle(router, seen, keep)
    found = judged(before, samples, seen, given)
    told = {"seen": seen, "before": before, "after": samples[-1], "held": {what: held for what, (held, _) in found.items()},
            "figures": {what: figure for what, (_, figure) in found.items()}}
    (out / "soak.json").write_text(json.dumps(told, indent=1) + "\n")
    (out / "soak.svg").write_text(picture(samples))
    print(json.dumps(told) if given.json else "\n".join(
        f"{'yes' if held else 'NO ':4} {what}: {figure}" for what, (held, figure) in found.items()))
    return 0 if all(told["held"].values()) else 1


def picture(samples):
    panels = {"resident memory, MB": ["rss_mb"], "programs": ["live_programs", "ended_programs"],
              "open calls": ["open_calls"], "calls known by name": ["known_calls"], "sockets and tasks": ["sockets", "tasks"]}
    points = lambda name: [(each["seconds"], each[name]) for each in samples]
    return curves("A day in minutes; across: seconds", [(title, {name: points(name) for name in names}) for title, names in panels.items()])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
