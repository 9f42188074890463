#!/usr/bin/env python3
"""Our router beside others before one engine that answers at once: `make bench-router`.

    scripts/bench/router.py [--quick] [--rounds 3] [--seconds 2] [--arms …] [--workloads …] [--bin DIR] [--out DIR]

`runs.csv` gets a row a measurement as it is made, `attempts.csv` how often a call is tried; `tables.md` and `speed.svg` show
the medians. docs/performance-router.md says what is measured.
"""
import argparse
import contextlib
import csv
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import arms
import child
import router_arms
import router_attempts
import router_report
import router_servers
import router_work

WARM_UP_S = 0.2
FIELDS = ["arm", "round", "workload", "body_bytes", "connections", "seconds", "requests", "errors", "req_s", "p50_ms", "p99_ms",
          "cpu_us_request", "chunks", "chunk_p50_ms", "chunk_p99_ms", "cpu_us_chunk", "rss_idle_mb", "rss_mb", "version", "note"]


class Study:
    def __init__(self, options, place, write):
        self.options, self.place, self.write = options, place, write
        self.program = place.programs / "examples" / "bench_router"
        self.workloads = [each for each in router_work.WORKLOADS if each.name in options.workloads]
        self.unavailable = {}

    def round(self, number):
        """All routers run at once, so that those who share a workload share its minute; one at a time is asked."""
        with contextlib.ExitStack() as stack:
            engine = stack.enter_context(router_servers.Engine(self.program))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lps-bench-")))
            routers = {name: router for name in self.options.arms if (router := self.start(stack, name, engine))}
            idle_mb = {name: router.server.rss_mb() for name, router in routers.items()}
            for place, each in enumerate(self.workloads):
                (folder / "body").write_bytes(each.body())
                engine.turn(each.way)
                # The one that begins changes, so that none always comes after the same one.
                turn = (number - 1 + place) % len(self.options.arms)
                for name in self.options.arms[turn:] + self.options.arms[:turn]:
                    row = {"arm": name, "round": number, "workload": each.name, "body_bytes": each.body_bytes,
                           "connections": each.connections}
                    if name in routers:
                        row |= self.measured(each, routers[name], folder / "body")
                        row["rss_idle_mb"] = f"{idle_mb[name]:.1f}"
                    else:
                        row["note"] = self.unavailable[name]
                    self.write(row)
                    print(f"round {number}, {each.name}, {name}: {row.get('p50_ms', '')} ms, "
                          f"{row.get('cpu_us_request', '')} us a request {row.get('note', '')}", flush=True)

    def start(self, stack, name, engine):
        """The router, or `None`, and why, when there is none."""
        try:
            return stack.enter_context(router_arms.running(name, self.place, engine))
        except (arms.Unavailable, child.Failed) as error:
            self.unavailable[name] = str(error)
            return None

    def load(self, each, router, body, seconds):
        """One run of the clients; what they saw."""
        command = [self.program, "load", "--to", router.address, "--body", body, "--connections", str(each.connections),
                   "--seconds", str(seconds), *(["--programs", str(each.programs)] if each.programs else []),
                   *([] if each.named else ["--unnamed"])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def measured(self, each, router, body):
        """A row's figures."""
        if not each.programs:
            self.load(each, router, body, WARM_UP_S)
        before = router.server.cpu_s()
        seen = self.load(each, router, body, self.options.seconds)
        cpu_us = (router.server.cpu_s() - before) * 1e6
        row = {"seconds": f"{seen['seconds']:.3f}", "requests": seen["requests"], "errors": seen["errors"],
               "rss_mb": f"{router.server.rss_mb():.1f}", "version": router.version}
        if seen["error"]:
            row["note"] = f"{seen['errors']} calls failed: {seen['error']}"[:200]
        if seen["requests"]:
            row |= {"req_s": f"{seen['requests'] / seen['seconds']:.1f}", "p50_ms": f"{seen['p50_us'] / 1e3:.4f}",
                    "p99_ms": f"{seen['p99_us'] / 1e3:.4f}", "cpu_us_request": f"{cpu_us / seen['requests']:.1f}"}
        if seen["chunks"]:
            row |= {"chunks": seen["chunks"], "chunk_p50_ms": f"{seen['chunk_p50_us'] / 1e3:.3f}",
                    "chunk_p99_ms": f"{seen['chunk_p99_us'] / 1e3:.3f}", "cpu_us_chunk": f"{cpu_us / seen['chunks']:.2f}"}
        return row


def count_attempts(options, place, write):
    """Once each: counts do not vary as times do."""
    for failure in options.failures:
        for name in options.arms:
            if name != router_arms.DIRECT:
                row = router_attempts.count(name, failure, place, options.hang)
                write(row)
                print(f"{failure}, {name}: {row.get('attempts', '')} attempts {row.get('note', '')}", flush=True)


@contextlib.contextmanager
def rows(path, fields):
    """Writes rows to a new file, each at once."""
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, fields, lineterminator="\n")
        table.writeheader()

        def write(row):
            table.writerow(row)
            file.flush()

        yield write


def build():
    """Our programs; the folder that has them."""
    cargo = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "lps-router"]
    for part in (["--bins"], ["--example", "bench_router"]):
        subprocess.run([*cargo, *part], cwd=arms.ROOT, check=True)
    about = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=arms.ROOT, check=True, stdout=subprocess.PIPE)
    return Path(json.loads(about.stdout)["target_directory"]) / "release"


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words = lambda text: [word for word in text.split(",") if word]
    names = [each.name for each in router_work.WORKLOADS]
    parser.add_argument("--quick", action="store_true", help="one round of a second of the workloads that have targets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each arm is asked")
    parser.add_argument("--arms", type=words, default=router_arms.DEFAULT)
    parser.add_argument("--workloads", type=words, default=names)
    parser.add_argument("--failures", type=words, default=list(router_attempts.FAILURES))
    parser.add_argument("--hang", type=float, default=5.0, help="seconds after which a client of an engine that hangs leaves")
    parser.add_argument("--bin", type=Path, help="folder of built programs, instead of building them")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds = 1, 1.0
        given.workloads = [name for name in given.workloads if name in router_work.QUICK]
    for asked, known in [(given.arms, router_arms.DEFAULT), (given.workloads, names), (given.failures, router_attempts.FAILURES)]:
        for name in asked:
            if name not in known:
                parser.error(f"{name} is none of {', '.join(known)}")
    return given


def main():
    # As Ctrl-C: the servers are ended on the way out.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    given = options()
    cache = subprocess.run([arms.ROOT / "scripts" / "cache-dir.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    out = given.out or Path(cache) / "bench-router"
    out.mkdir(parents=True, exist_ok=True)
    place = router_arms.Place(Path(cache), (given.bin or build()).resolve())
    with rows(out / "runs.csv", FIELDS) as runs, rows(out / "attempts.csv", router_attempts.FIELDS) as attempts:
        try:
            study = Study(given, place, runs)
            for number in range(1, given.rounds + 1):
                study.round(number)
            count_attempts(given, place, attempts)
        finally:
            router_report.write(out)
    print(f"{out}: runs.csv, attempts.csv, tables.md, speed.svg")

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
