#!/usr/bin/env python3
"""Two policies on two real engines, in pairs, and what the simulator says of them: `make bench-engines`.

    engine_study.py LPS OUT [--seeds 1,2,3] [--loads 0.6,1.5,3] [--programs 120] [--model DIR]

LPS is the `lps` binary with `lps-engine` beside it, OUT a folder. The order of things:

1. calibrate: step logs of both engines under a load of other seeds, before all runs and again after them;
2. fix the load points: multiples of the rate at which simulated FCFS slows programs to three times what they take alone;
3. run each load and seed under both policies, one right after the other, the first one in turns, on fresh engines;
4. simulate the same programs with the profile of both calibrations, and compare.

`runs/` holds what `lps bench run` wrote, `report.html` shows it, `runs.csv` and `tables.md` have the figures.
"""
import argparse
import contextlib
import csv
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from scheduling_study import interval

POLICIES = ["fcfs", "atlas"]
LOADS = [0.6, 1.5, 3.0]
# Chats, agents with tools and tree searches in equal parts, with as many calls as they have but small ones, so that sizes
# of programs differ as much as they do and a processor gets through enough of them.
WORKLOAD = "mixed,programs={programs},rate={rate:.5f},scale=0.05,calls-max=400,gap-max=0.3"
# The default's, divided by four: calls are smaller by more than that.
BOUNDS = ["0.5", "2", "8", "32", "128"]
CALIBRATION_SEEDS = {"before": 1001, "after": 1002}
CALIBRATION_PROGRAMS = 12
# 25 million parameters in float32: steps of several milliseconds on one core, so that engines, not clients, are busy.
MODEL = ["--size", "tiny", "--family", "llama", "--hidden", "512", "--intermediate", "1408", "--layers", "8",
         "--heads", "8", "--kv-heads", "4", "--head-dim", "64", "--context-length", "4096"]
SLOTS = 2
ENGINES = 2


def free_port():
    """One that no connection is given before the router listens."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Stack:
    """`lps up` with both engines, each on one core, writing their steps into a folder."""

    def __init__(self, lps, model, policy, folder):
        self.lps, self.folder = lps, folder
        self.steps = folder / "steps"
        self.steps.mkdir(parents=True)
        resource = {
            "apiVersion": "llmprogram.dev/v1alpha1",
            "kind": "LLMProgramServing",
            "metadata": {"name": "study"},
            "spec": {
                "model": {"name": "study", "dtype": "float32", "source": {"hostPath": {"path": str(model)}}},
                "engine": {"device": "cpu", "maxNumSeqs": SLOTS, "maxBatchedTokens": 256, "kvCache": {"size": "1Gi"},
                           "resources": {"limits": {"cpu": "1"}}, "extraArgs": ["--step-log", str(self.steps)]},
                "scheduling": {"policy": policy, "bounds": BOUNDS},
                "scaling": {"min": ENGINES, "max": ENGINES},
            },
        }
        (folder / "manifest.yaml").write_text(json.dumps(resource))
        self.port = free_port()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        # What it says is in the log; should it not come up, that is told.
        with open(self.folder / "lps.log", "wb") as log:
            self.process = subprocess.Popen(
                [self.lps, "up", self.folder / "manifest.yaml", "--port", str(self.port), "--admin-port", str(free_port()),
                 "--state-dir", self.folder / "state"], stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 120
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                sys.exit(f"the engines do not come up:\n{(self.folder / 'lps.log').read_text()}")
            time.sleep(0.1)
        return self

    def is_ready(self):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/v1/engines", timeout=5) as answer:
            return len(json.load(answer)["data"]) == ENGINES
        return False

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def mean(path, column, of=statistics.fmean):
    """Over those rows that came to their end."""
    return of([float(row[column]) for row in rows(path) if row["state"] == "completed"])


def p95(values):
    """95 of 100 are below it."""
    return statistics.quantiles(values, n=20)[-1]


class Study:
    def __init__(self, lps, out, loads, programs):
        self.lps, self.out, self.loads, self.programs = Path(lps).resolve(), Path(out).resolve(), loads, programs
        if self.out.exists():
            sys.exit(f"{self.out} is there already: delete it, or name another folder (make bench-engines OUT=…)")
        self.out.mkdir(parents=True)
        self.lines = []

    def call(self, *arguments):
        command = [str(self.lps), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return done.stdout

    def say(self, text):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def bench(self, name, policy, workload, seed):
        """Runs a workload on fresh engines; the folder of what was seen."""
        run = self.out / "runs" / name
        with Stack(self.lps, self.model, policy, self.out / "stacks" / name) as stack:
            self.call("--url", stack.url, "bench", "run", workload, "--label", policy, "--seed", seed, "--out", run)
        return run

    def calibrate(self, name):
        seed = CALIBRATION_SEEDS[name]
        # All engines are busy: as many programs at once as there are slots.
        workload = WORKLOAD.format(programs=CALIBRATION_PROGRAMS, rate=1.0)
        folder = self.out / "stacks" / name
        with Stack(self.lps, self.model, "fcfs", folder) as stack:
            self.call("--url", stack.url, "bench", "run", workload, "--closed", ENGINES * SLOTS, "--seed", seed)
        return folder / "steps"

    def profile(self, name, *steps):
        found = json.loads(self.call("--json", "bench", "calibrate", *steps, "--name", name, "--out", self.out / f"{name}.json"))
        for check in found["checks"]:
            self.lines.append([name, check["steps"], str(check["count"]), f"{check['told_s'] / check['seen_s'] - 1:+.1%}",
                               f"{check['off_p50']:.1%}", f"{check['off_p90']:.1%}"])
        return self.out / f"{name}.json"

    def simulate(self, profile, workload, seed, policy, out=None):
        command = ["--json", "sim", "--no-checks", "--workload", workload, "--seed", seed, "--policy", policy, "--engine",
                   f"core:{profile}", "--engines", ENGINES, "--set", f"bounds={','.join(BOUNDS)}"]
        return json.loads(self.call(*command, *(["--out", out] if out else [])))

    def knee(self, profile):
        """The rate at which FCFS slows programs threefold (seed 1)."""
        least, most = 0.01, 8.0
        for _ in range(12):
            rate = (least * most) ** 0.5
            workload = WORKLOAD.format(programs=self.programs, rate=rate)
            slowdown = self.simulate(profile, workload, 1, "fcfs")[0]["slowdown"]["mean"]
            least, most = (rate, most) if slowdown < 3 else (least, rate)
        return (least * most) ** 0.5

    def run(self, seeds, model):
        self.model = model
        if not model:
            self.model = self.out / "model"
            self.call("model", "make", self.model, *MODEL)
        before = self.calibrate("before")
        knee = self.knee(self.profile("before", before))
        self.say(f"the knee is at {knee:.3f} programs a second")
        runs, plan = [], [(load, seed) for load in self.loads for seed in seeds]
        for number, (load, seed) in enumerate(plan):
            workload = WORKLOAD.format(programs=self.programs, rate=knee * load)
            for policy in POLICIES if number % 2 == 0 else reversed(POLICIES):
                run = self.bench(f"{load}-{seed}-{policy}", policy, workload, seed)
                runs.append({"load": load, "seed": seed, "policy": policy, "workload": workload, "run": run})
                self.say(f"{len(runs)} of {len(plan) * len(POLICIES)}: load {load}, seed {seed}, {policy}: "
                         f"{mean(run / 'programs.csv', 'completion_s'):.2f} s")
        after = self.calibrate("after")
        self.profile("after", after)
        profile = self.profile("both", before, after)
        self.call("bench", "report", self.out / "runs", "--out", self.out / "report.html", "--title",
                  "FCFS and ATLAS on two engines")
        self.tables(knee, self.compare(runs, profile))

    def compare(self, runs, profile):
        """Each run's figures beside those of its simulation."""
        compared = []
        for run in runs:
            sim = self.out / "sim" / run["run"].name
            self.simulate(profile, run["workload"], run["seed"], run["policy"], sim)
            sim = sim / run["policy"]
            states = [row["state"] for row in rows(run["run"] / "programs.csv")]
            if set(states) != {"completed"}:
                sys.exit(f"{run['run']}: {len(states) - states.count('completed')} of {len(states)} programs did not "
                         "complete, so the runs cannot be compared; see programs.csv there")
            compared.append({
                "load": run["load"], "seed": run["seed"], "policy": run["policy"], "programs": len(states),
                "completion_s": mean(run["run"] / "programs.csv", "completion_s"),
                "simulated_completion_s": mean(sim / "programs.csv", "completion_s"),
                "geometric_mean_s": mean(run["run"] / "programs.csv", "completion_s", statistics.geometric_mean),
                "p95_s": mean(run["run"] / "programs.csv", "completion_s", p95),
                "simulated_p95_s": mean(sim / "programs.csv", "completion_s", p95),
                "call_service_s": mean(run["run"] / "calls.csv", "service_s"),
                "simulated_call_service_s": mean(sim / "calls.csv", "service_s"),
                "lag_s": json.loads((run["run"] / "summary.json").read_text())["lag_s"]["p99"],
            })
        with open(self.out / "runs.csv", "w", newline="") as file:
            table = csv.DictWriter(file, compared[0].keys(), lineterminator="\n")
            table.writeheader()
            table.writerows(compared)
        return compared

    def tables(self, knee, compared):
        def of(load, policy, key):
            return [row[key] for row in compared if (row["load"], row["policy"]) == (load, policy)]

        def shown(values):
            return "{:.2f} ± {:.2f}".format(*interval(values))

        def effect(load, key):
            fcfs, atlas = (of(load, policy, key) for policy in POLICIES)
            return [f"{load}", f"{knee * load:.3f}", shown(fcfs), shown(atlas),
                    shown([b - a for a, b in zip(fcfs, atlas)]), shown([b / a for a, b in zip(fcfs, atlas)])]

        told = []
        for load in self.loads:
            fcfs, atlas = (of(load, policy, "completion_s") for policy in POLICIES)
            seen = statistics.fmean(atlas) / statistics.fmean(fcfs)
            fcfs, atlas = (statistics.fmean(of(load, policy, "simulated_completion_s")) for policy in POLICIES)
            service = [statistics.fmean(of(load, policy, "simulated_call_service_s")) /
                       statistics.fmean(of(load, policy, "call_service_s")) - 1 for policy in POLICIES]
            told.append([f"{load}", f"{seen:.3f}", f"{atlas / fcfs:.3f}", f"{atlas / fcfs / seen - 1:+.1%}",
                         *(f"{off:+.1%}" for off in service)])
        header = ["load", "programs a second", *POLICIES, "difference", "ratio"]
        titles = {"completion_s": "Mean completion (s)", "geometric_mean_s": "Geometric mean: each program counts alike, long or short (s)"}
        parts = [
            *((title, header, [effect(load, key) for load in self.loads]) for key, title in titles.items()),
            ("What the simulator says", ["load", "atlas/fcfs seen", "simulated", "off", "call service off, fcfs", "atlas"], told),
            ("Calibration, on steps held back", ["profile", "steps", "count", "sum off", "p50 off", "p90 off"], self.lines),
        ]
        text = ""
        for title, header, lines in parts:
            text += f"\n### {title}\n\n| " + " | ".join(header) + " |\n|" + "---|" * len(header) + "\n"
            text += "".join("| " + " | ".join(line) + " |\n" for line in lines)
        (self.out / "tables.md").write_text(text.lstrip())
        print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lps")
    parser.add_argument("out")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--loads", default=",".join(map(str, LOADS)), help="some of the load points")
    parser.add_argument("--programs", type=int, default=120)
    parser.add_argument("--model", type=Path, help="a checkpoint instead of one that is made")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    loads = [float(load) for load in arguments.loads.split(",")]
    Study(arguments.lps, arguments.out, loads, arguments.programs).run(seeds, arguments.model)


if __name__ == "__main__":
    main()
