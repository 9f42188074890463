#!/usr/bin/env python3
"""Our engine beside others on the same weights, token ids and cores, in turns: `make bench-engine`.

    scripts/bench/engine.py [--quick] [--rounds 3] [--shapes …] [--arms …] [--workloads …] [--cores 0,1] [--out DIR]

An arm is NAME[:DTYPE]; float32 and, where the engine has it, int8 are such types. `runs.csv` gets a row a measurement as
it is made, `tables.md` and `speed.svg` show the medians. docs/performance.md says what is measured.
"""
import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import arms
import child
import report
import work

SHAPES = ["qwen3-0.6b", "smollm-135m"]
LIMIT_S = 3600
FIELDS = ["shape", "arm", "dtype", "round", "workload", "seconds", "tokens", "tok_s", "gb_s", "gflop_s", "bandwidth_gb_s",
          "version", "note"]


def prepare(cache, shapes):
    """Builds our programs and makes the checkpoints; the folder of the built examples."""
    cargo = ["cargo", "build", "--release", "--locked", "--quiet"]
    subprocess.run([*cargo, "-p", "lps-engine", "--bins", "--example", "bench_engine", "--example", "bandwidth"], cwd=arms.ROOT, check=True)
    about = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=arms.ROOT, check=True, stdout=subprocess.PIPE)
    release = Path(json.loads(about.stdout)["target_directory"]) / "release"
    for shape in shapes:
        folder = cache / "models" / shape
        if not folder.exists():
            subprocess.run([*cargo, "-p", "lps-cli", "--bins"], cwd=arms.ROOT, check=True)
            subprocess.run([release / "lps", "model", "make", "--size", shape, folder], check=True)
    return release / "examples"


class Study:
    def __init__(self, options, examples, writer):
        self.options, self.examples, self.writer = options, examples, writer
        self.workloads = [each for each in work.WORKLOADS if each.name in options.workloads]
        self.unavailable = {}

    def bandwidth(self):
        """What the memory gives at this moment to so many threads, by reading."""
        command = [self.examples / "bandwidth", str(len(self.options.cores))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE,
                              preexec_fn=lambda: os.sched_setaffinity(0, self.options.cores))
        return json.loads(done.stdout)["read_gb_s"]

    def turn(self, shape, arm, number):
        """One process of one arm; its rows, or one that says why there are none."""
        row = {"shape": shape, "arm": arm.name, "dtype": arm.dtype, "round": number}
        model = work.Model(self.options.cache / "models" / shape)
        job = model.job(arm.dtype, len(self.options.cores), self.workloads)
        if arm.name in arms.OURS:
            job["kernels"] = arms.OURS[arm.name]
        done = {}
        before = self.bandwidth()
        try:
            if arm in self.unavailable:
                raise arms.Unavailable(self.unavailable[arm])
            command = arm.command(self.options.cache, self.examples)
            environment = arm.environment(self.options.cache, self.options.cores, job["kv_bytes"])
            lines = child.run(command, environment, self.options.cores, job, LIMIT_S)
            with contextlib.closing(lines):
                for at, line in lines:
                    if "ready" in line:
                        row["version"] = line["ready"]
                        done[work.START] = row | {"workload": work.START, "seconds": f"{at:.2f}"}
                    else:
                        done[line["workload"]] = row | self.measured(model, arm, line)
                    print(f"  {arm}: {line.get('workload', 'ready')} after {at:.1f} s", flush=True)
        except (arms.Unavailable, child.Failed) as error:
            if isinstance(error, arms.Unavailable):
                self.unavailable[arm] = str(error)
            print(f"  {arm}: {error}", flush=True)
            for name in [work.START, *(each.name for each in self.workloads)]:
                done.setdefault(name, row | {"workload": name, "note": str(error)})
        bandwidth = (before + self.bandwidth()) / 2
        for each in done.values():
            self.writer(each | {"bandwidth_gb_s": f"{bandwidth:.1f}"})

    def measured(self, model, arm, line):
        """A row's figures: rates, and what they mean in bytes and operations a second."""
        each = next(each for each in self.workloads if each.name == line["workload"])
        row = {"workload": each.name}
        if "error" in line:
            return row | {"note": line["error"]}
        if each.steps == 0:
            seconds, tokens, rounds = line["first_s"], each.batch * each.prompt, 1
        else:
            seconds, tokens = line["decode_s"], line["decode_tokens"]
            # A batch that does not draw in step is told by what it drew.
            rounds = tokens / each.batch
            row["gb_s"] = f"{model.step_bytes(each, arm.dtype) * rounds / seconds / 1e9:.2f}"
        return row | {"seconds": f"{seconds:.4f}", "tokens": tokens, "tok_s": f"{tokens / seconds:.2f}",
                      "gflop_s": f"{model.flop(each) * rounds / seconds / 1e9:.1f}"}

    def run(self):
        for number in range(1, self.options.rounds + 1):
            for shape in self.options.shapes:
                # The one that begins changes, so that no arm always has the coldest machine.
                turn = (number - 1) % len(self.options.arms)
                for arm in self.options.arms[turn:] + self.options.arms[:turn]:
                    print(f"round {number} of {self.options.rounds}, {shape}, {arm}", flush=True)
                    self.turn(shape, arm, number)


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words = lambda text: text.split(",")
    names = [each.name for each in work.WORKLOADS]
    parser.add_argument("--quick", action="store_true", help="one round of the smaller shape, without the long context")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", type=words, default=SHAPES)
    parser.add_argument("--arms", type=words, default=arms.DEFAULT)
    parser.add_argument("--workloads", type=words, default=names)
    parser.add_argument("--cores", type=lambda text: sorted(map(int, text.split(","))), default=sorted(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.cache = Path(subprocess.run([arms.ROOT / "scripts" / "cache-dir.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    given.out = given.out or given.cache / "bench-engine"
    if given.quick:
        given.rounds, given.shapes = 1, SHAPES[1:]
        given.workloads = [name for name in given.workloads if name != "decode_8_4k"]
    unknown = [name for name in given.workloads if name not in names] + [name for name in given.shapes if name not in SHAPES]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(names + SHAPES)}")
    try:
        given.arms = [arms.Arm.parse(text) for text in given.arms]
    except ValueError as error:
        parser.error(str(error))
    for arm in given.arms:
        if arm.dtype not in work.WEIGHT_BYTES:
            parser.error(f"{arm.dtype} is none of {', '.join(work.WEIGHT_BYTES)}")
    return given


def main():
    # As Ctrl-C: the arm's processes are ended on the way out.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    given = options()
    examples = prepare(given.cache, given.shapes)
    given.out.mkdir(parents=True, exist_ok=True)
    with open(given.out / "runs.csv", "w", newline="") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()

        def write(row):
            table.writerow(row)
            file.flush()

        try:
            Study(given, examples, write).run()
        finally:
            report.write(given.out, given.cache / "models")
    print(f"{given.out}: runs.csv, tables.md, speed.svg")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
