#!/usr/bin/env python3
"""Tables and the picture of `make bench-router` from its runs.csv and attempts.csv. Knows only what stands there.

    scripts/bench/router_report.py DIR      DIR gets tables.md and speed.svg
"""
import csv
import dataclasses
import statistics
import sys
from pathlib import Path

import router_arms
import router_attempts
import router_work
from picture import bars
from report import spread, table

DIRECT = router_arms.DIRECT


class Runs:
    def __init__(self, rows):
        self.rows = rows
        names = list(dict.fromkeys(row["arm"] for row in rows))
        self.arms = [name for name in router_arms.DEFAULT if name in names]
        self.routers = [name for name in self.arms if name != DIRECT]
        self.workloads = [each for each in router_work.WORKLOADS if any(row["workload"] == each.name for row in rows)]

    def by_round(self, arm, workload, field):
        return {row["round"]: float(row[field]) for row in self.rows
                if (row["arm"], row["workload"]) == (arm, workload) and row[field]}

    def values(self, arm, workload, field):
        return list(self.by_round(arm, workload, field).values())

    def added(self, arm, workload, field):
        """What it takes more than without a router, in the same round."""
        bare = self.by_round(DIRECT, workload, field)
        return [value - bare[place] for place, value in self.by_round(arm, workload, field).items() if place in bare]


@dataclasses.dataclass(frozen=True)
class Target:
    title: str
    workload: str
    field: str
    most: float
    is_added: bool = False

    def values(self, runs, arm):
        return (runs.added if self.is_added else runs.values)(arm, self.workload, self.field)


# Of ours; the others stand beside.
TARGETS = [
    Target("added p50, 1 KB, ms", "whole_1k_c1", "p50_ms", 0.08, True),
    Target("added p50, 436 KB, ms", "whole_436k_c1", "p50_ms", 0.5, True),
    Target("CPU a request, 1 KB, µs", "whole_1k_c32", "cpu_us_request", 60),
    Target("CPU a request, 436 KB, µs", "whole_436k_c32", "cpu_us_request", 450),
    Target("CPU a request, 1 KB, no program named, µs", "unnamed_1k_c32", "cpu_us_request", 60),
    Target("CPU a request, 436 KB, no program named, µs", "unnamed_436k_c1", "cpu_us_request", 450),
    Target("CPU a piece of a stream, µs", "paced_1k_c200", "cpu_us_chunk", 10),
    Target("p99 at 32 connections, 1 KB, ms", "whole_1k_c32", "p99_ms", 10),
    Target("resident with 10,000 programs, MB", "programs_10000", "rss_mb", 60),
]


def times(runs, field):
    """Direct as it is, each router as what it adds. How long a paced stream takes is the engine's affair."""
    rows = []
    for each in runs.workloads:
        if each.way == "paced" and not field.startswith("chunk"):
            continue
        bare = runs.values(DIRECT, each.name, field)
        added = [spread(runs.added(arm, each.name, field)) for arm in runs.routers]
        if bare:
            rows.append([each.title, spread(bare), *added])
    return table(["ms", DIRECT, *(f"{arm} adds" for arm in runs.routers)], rows) if rows else ""


def plain(runs, unit, field):
    """As measured; of direct it is the engine's."""
    rows = [[each.title] + [spread(runs.values(arm, each.name, field)) for arm in runs.arms]
            for each in runs.workloads if any(runs.values(arm, each.name, field) for arm in runs.arms)]
    return table([unit, *runs.arms], rows) if rows else ""


def targets(runs):
    rows = []
    for each in TARGETS:
        measured = {arm: each.values(runs, arm) for arm in runs.routers}
        ours = measured.get(router_arms.OURS)
        reached = "–" if not ours else "yes" if statistics.median(ours) <= each.most else "no"
        rows.append([each.title, f"≤ {each.most:g}", *(spread(measured[arm]) for arm in runs.routers), reached])
    return table(["", "target", *runs.routers, "reached"], rows)


def attempts(rows):
    names = [name for name in router_arms.DEFAULT if any(row["arm"] == name for row in rows)]
    told = {(row["arm"], row["failure"]): attempt(row) for row in rows}
    lines = [[title] + [told.get((name, failure), "–") for name in names]
             for failure, title in router_attempts.FAILURES.items() if any(row["failure"] == failure for row in rows)]
    return table(["attempts of one call; what its client got", *names], lines)


def attempt(row):
    if not row["attempts"]:
        return "–"
    gap = f", {float(row['gap_s']):.2f} s apart or more" if row["gap_s"] else ""
    return f"{row['attempts']}{gap}; {row['status']} after {float(row['seconds']):.2f} s"


def notes(rows, what):
    """Each reason once, with what it took."""
    reasons = {}
    for row in rows:
        if row["note"]:
            reasons.setdefault((row["arm"], row["note"]), []).append(row[what])
    return [f"- {arm}, {', '.join(dict.fromkeys(names))}: {note}" for (arm, note), names in reasons.items()]


def tables(runs, tried):
    rounds = len({row["round"] for row in runs.rows})
    versions = dict.fromkeys(f"{row['arm']} ({row['version']})" for row in runs.rows if row["version"])
    parts = [f"Rounds: {rounds}; medians, with the least and the most where there are more than one. {'; '.join(versions)}.",
             "## Targets of ours", targets(runs),
             "## Time of a whole answer", "p50:", times(runs, "p50_ms"), "p99:", times(runs, "p99_ms"),
             "## Delay of a piece of a stream", "p50:", times(runs, "chunk_p50_ms"), "p99:", times(runs, "chunk_p99_ms"),
             "## Processors' time", "Of direct it is the engine's.", plain(runs, "µs a request", "cpu_us_request"),
             plain(runs, "µs a piece", "cpu_us_chunk"),
             "## Requests a second", plain(runs, "1/s", "req_s"),
             "## Resident memory", plain(runs, "MB", "rss_mb"), f"Before the first call: {idle(runs)}."]
    if tried:
        parts += ["## Attempts", attempts(tried)]
    missing = notes(runs.rows, "workload") + notes(tried, "failure")
    if missing:
        parts += ["## What did not run, or failed", "\n".join(missing)]
    return "\n\n".join(part for part in parts if part) + "\n"


def idle(runs):
    first = runs.workloads[0].name if runs.workloads else ""
    return ", ".join(f"{arm} {spread(runs.values(arm, first, 'rss_idle_mb'))}" for arm in runs.arms)


def picture(runs):
    """A panel a target. Milliseconds below one are drawn as microseconds: bars say one digit after the point."""
    panels = []
    for each in TARGETS:
        title, factor = each.title, 1
        if each.most < 1:
            title, factor = each.title.replace(", ms", ", µs"), 1_000
        values = {arm: [value * factor for value in each.values(runs, arm)] for arm in runs.routers}
        panels.append((title, values, each.most * factor))
    return bars("What a router takes; broken line: what ours is to stay below", panels, runs.routers)


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(out):
    runs, tried = Runs(read(out / "runs.csv")), read(out / "attempts.csv")
    (out / "tables.md").write_text(tables(runs, tried))
    if runs.routers:
        (out / "speed.svg").write_text(picture(runs))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
