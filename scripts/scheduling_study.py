#!/usr/bin/env python3
"""The figures of docs/scheduling.md, by simulation of the production scheduler: `make bench-scheduling`.

    scheduling_study.py LPS OUT [--quick] [--seeds 1,2,3] [--only curves,rates,working-set,leases,starvation,tenants]

LPS is the `lps` binary, OUT a folder. Each part writes a CSV there, the first a picture too; `tables.md` has what the page
shows. The load points were fixed beforehand: 1.0 is the rate at which FCFS with sticky homes and without a working set slows
programs to three times what they take alone (seed 1).
"""
import argparse
import csv
import json
import math
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scheduling_picture import picture

# Generator, programs a second at the knee.
WORKLOADS = {
    "chat": ("chat,programs=3000", 0.34),
    "react": ("react,programs=4000", 8.9),
    "mcts": ("mcts,programs=400", 0.61),
    "swe-bench": ("swe-bench,programs=400", 0.345),
    "mixed": ("mixed,programs=1500", 0.80),
    "coding": ("coding,programs=200", 0.00088),
}
LOADS = [0.2, 0.5, 0.8, 1.0, 1.3]
POLICIES = ["fcfs", "program-fcfs", "mlfq", "plas", "atlas", "gittins", "srpt"]
ENGINE = "roofline:a100-8b"
CODING = "coding,programs=84,arrivals=at-once"
CODING_ENGINE = "roofline:a100-8b,slots=64,kv=1450000"
# Virtual seconds after which a run is cut off: without a working set some never end. Coding sessions come far apart, so
# theirs take longer.
UNTIL = 300_000
CURVES_UNTIL = {"coding": 2_000_000}
# Policies, multiples of the knee, and halvings of the search for the rate at which tokens come three times as late as idle.
# Chat is not among the workloads: most of its latency is people's gaps.
RATES = {"policies": ["fcfs", "mlfq", "plas", "atlas", "gittins"], "workloads": ["react", "mcts", "swe-bench", "mixed"],
         "idle": 0.02, "from": 0.5, "to": 4.0, "halvings": 7}
LEASES = ["0", "10", "40", "160", "learned"]
# Two-sided 95 % quantiles of Student's t, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def interval(values):
    """Mean and the half width of its 95 % confidence interval."""
    if len(values) < 2:
        return values[0], math.nan
    width = STUDENT.get(len(values) - 1, 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), width


class Study:
    def __init__(self, lps, out, seeds):
        self.lps, self.out, self.seeds = lps, Path(out), seeds
        self.out.mkdir(parents=True, exist_ok=True)
        self.lines = []

    def sim(self, workload, policies, seed, engine=ENGINE, rules=(), out=None, until=UNTIL):
        """The summaries of some policies on one workload."""
        command = [self.lps, "--json", "sim", "--no-checks", "--workload", workload, "--policy", ",".join(policies),
                   "--engine", engine, "--seed", str(seed), "--until", str(until), "--set", "locality_threshold=0"]
        for rule in rules:
            command += ["--set", rule]
        if out:
            command += ["--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)

    def each(self, jobs, work):
        """Work on all jobs, two at a time, in their order; says how far it is."""
        with ThreadPoolExecutor(2) as pool:
            for number, (job, result) in enumerate(zip(jobs, pool.map(work, jobs)), 1):
                print(f"\r{number} of {len(jobs)}: {job}".ljust(100)[:100], end="", file=sys.stderr, flush=True)
                yield job, result
        print(file=sys.stderr)

    def write(self, name, rows):
        with open(self.out / name, "w", newline="") as file:
            table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    def table(self, title, header, rows):
        self.lines += [f"\n### {title}\n", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        self.lines += ["| " + " | ".join(row) + " |" for row in rows]

    def curves(self, loads):
        """Every policy with and without a working set at each load."""
        jobs = [(name, load, on, seed) for name in WORKLOADS for load in loads for on in ("off", "on") for seed in self.seeds]

        def work(job):
            name, load, on, seed = job
            generator, knee = WORKLOADS[name]
            return self.sim(f"{generator},rate={knee * load:.6f}", POLICIES, seed, rules=[f"working_set={on}"],
                            until=CURVES_UNTIL.get(name, UNTIL))

        rows = []
        for (name, load, on, seed), summaries in self.each(jobs, work):
            for it in summaries:
                rows.append({"workload": name, "load": load, "working_set": on, "policy": it["policy"], "seed": seed,
                             "mean_s": it["completion_s"]["mean"], "p99_s": it["completion_s"]["p99"],
                             "token_latency_s": it["token_latency_s"]["mean"], "slowdown": it["slowdown"]["mean"],
                             "hit_rate": it["hit_rate"], "makespan_s": it["makespan_s"], "pauses": it["pauses"],
                             "forced": it["forced_admissions"], "preemptions": it["preemptions"], "unfinished": it["unfinished_programs"]})
        self.write("curves.csv", rows)
        with open(self.out / "curves.csv", newline="") as file:
            (self.out / "curves.svg").write_text(picture(list(csv.DictReader(file))))
        for name in WORKLOADS:
            self.curve_table(name, loads, rows)
        self.composed_table(loads, rows)

    def curve_table(self, name, loads, rows):
        def cell(load, on, policy, key):
            values = [row[key] for row in rows if (row["workload"], row["load"], row["working_set"], row["policy"]) == (name, load, on, policy)]
            mean, width = interval(values)
            return f"{mean:.4g}" + ("" if math.isnan(width) else f" ± {width:.2g}")

        for key, title in (("mean_s", "mean completion (s)"), ("token_latency_s", "token latency (s)")):
            lines = [[policy, on] + [cell(load, on, policy, key) for load in loads] for policy in POLICIES for on in ("off", "on")]
            self.table(f"{name}: {title}", ["policy", "working set"] + [f"load {load}" for load in loads], lines)

    def composed_table(self, loads, rows):
        """Sticky FCFS without a working set over Gittins with one, seed by seed."""
        lines = []
        for name in WORKLOADS:
            for load in loads:
                def of(on, policy, key, seed):
                    return next(row[key] for row in rows if (row["workload"], row["load"], row["working_set"], row["policy"], row["seed"]) == (name, load, on, policy, seed))

                def ratio(key, policy="gittins"):
                    mean, width = interval([of("off", "fcfs", key, seed) / of("on", policy, key, seed) for seed in self.seeds])
                    return f"{mean:.2f}" + ("" if math.isnan(width) else f" ± {width:.2f}")

                lines.append([name, str(load), ratio("mean_s"), ratio("token_latency_s"), ratio("p99_s"), ratio("mean_s", "atlas"), ratio("token_latency_s", "atlas")])
        self.table("FCFS without a working set over Gittins, and over ATLAS, with one (above 1: faster)",
                   ["workload", "load", "mean", "token latency", "p99", "mean, ATLAS", "token latency, ATLAS"], lines)

    def rates(self):
        """The rate at which a policy makes tokens three times as late as idle engines do."""
        cases = [(name, policy, seed) for name in RATES["workloads"] for policy in RATES["policies"] for seed in self.seeds]

        def latency(name, load, policy, seed):
            generator, knee = WORKLOADS[name]
            found, = self.sim(f"{generator},rate={knee * load:.5f}", [policy], seed)
            return found["token_latency_s"]["mean"]

        def work(case):
            name, policy, seed = case
            idle = latency(name, RATES["idle"], policy, seed)
            least, most = RATES["from"], RATES["to"]
            for _ in range(RATES["halvings"]):
                load = math.sqrt(least * most)
                least, most = (load, most) if latency(name, load, policy, seed) < 3 * idle else (least, load)
            # Where it bears all that was tried, what it bears is not known.
            return idle, WORKLOADS[name][1] * math.sqrt(least * most), most == RATES["to"]

        rows = [{"workload": name, "policy": policy, "seed": seed, "idle_token_latency_s": idle, "rate": rate, "at_least": at_least}
                for (name, policy, seed), (idle, rate, at_least) in self.each(cases, work)]
        self.write("rates.csv", rows)
        lines = []
        for name in RATES["workloads"]:
            of = {policy: [row["rate"] for row in rows if (row["workload"], row["policy"]) == (name, policy)] for policy in RATES["policies"]}
            cell = lambda values: f"{interval(values)[0]:.2f}" + ("" if math.isnan(interval(values)[1]) else f" ± {interval(values)[1]:.2f}")
            against = lambda other: cell([a / b for a, b in zip(of["atlas"], of[other])])
            bound = lambda policy: "at least " if any(row["at_least"] for row in rows if (row["workload"], row["policy"]) == (name, policy)) else ""
            lines.append([name] + [bound(policy) + cell(of[policy]) for policy in RATES["policies"]] + [against("mlfq"), against("fcfs")])
        self.table("Programs a second at which tokens come three times as late as idle",
                   ["workload", *RATES["policies"], "ATLAS over MLFQ", "ATLAS over FCFS"], lines)

    def working_set(self):
        """84 coding sessions on a pool for 24 of them."""
        cases = [(shared, on, seed) for shared in (0, 15000) for on in ("off", "on") for seed in self.seeds]

        def work(case):
            shared, on, seed = case
            folder = self.out / "coding" / f"{shared}-{on}-{seed}"
            found = self.sim(f"{CODING},shared={shared}", ["fcfs", "atlas"], seed, CODING_ENGINE, [f"working_set={on}"], folder)
            for it in found:
                calls = list(csv.DictReader(open(folder / it["policy"] / "calls.csv")))
                tokens = sum(int(call["output_tokens"]) for call in calls)
                soon = sum(int(call["output_tokens"]) for call in calls if float(call["start_s"]) - float(call["ready_s"]) <= 30)
                it["soon"] = soon / tokens
                it["longest_s"] = max(float(call["wait_s"]) for call in calls)
            return found

        rows = []
        for (shared, on, seed), found in self.each(cases, work):
            for it in found:
                rows.append({"shared": shared, "working_set": on, "policy": it["policy"], "seed": seed, "hit_rate": it["hit_rate"],
                             "tokens_within_30_s": round(it["soon"], 4), "mean_s": it["completion_s"]["mean"], "p99_s": it["completion_s"]["p99"],
                             "longest_wait_s": it["longest_s"], "pauses": it["pauses"], "unfinished": it["unfinished_programs"]})
        self.write("working-set.csv", rows)
        lines = []
        for shared in (0, 15000):
            for policy in ("fcfs", "atlas"):
                for on in ("off", "on"):
                    of = [row for row in rows if (row["shared"], row["working_set"], row["policy"]) == (shared, on, policy)]
                    mean = lambda key: f"{statistics.fmean(row[key] for row in of):.3g}"
                    lines.append([str(shared), policy, on] + [mean(key) for key in ("hit_rate", "tokens_within_30_s", "mean_s", "p99_s", "longest_wait_s", "unfinished")])
        self.table("84 coding sessions on a pool for 24", ["shared prefix", "policy", "working set", "hit rate", "tokens of turns begun within 30 s", "mean (s)", "p99 (s)", "longest wait (s)", "programs that did not end"], lines)

    def leases(self):
        """Leases by hand against the learned one."""
        loads = {"coding": (CODING + ",shared=0", CODING_ENGINE), "chat": ("chat,programs=1500,rate=0.44", ENGINE), "swe-bench": ("swe-bench,programs=300,rate=0.6", ENGINE)}
        cases = [(name, lease, seed) for name in loads for lease in LEASES for seed in self.seeds]

        def work(case):
            name, lease, seed = case
            rules = [] if lease == "learned" else [f"acting_lease={lease}"]
            return self.sim(loads[name][0], ["fcfs", "gittins"], seed, loads[name][1], rules)

        rows = []
        for (name, lease, seed), found in self.each(cases, work):
            rows += [{"workload": name, "lease_s": lease, "policy": it["policy"], "seed": seed, "mean_s": it["completion_s"]["mean"],
                      "token_latency_s": it["token_latency_s"]["mean"], "hit_rate": it["hit_rate"], "pauses": it["pauses"]} for it in found]
        self.write("leases.csv", rows)
        lines = []
        for name in loads:
            for policy in ("fcfs", "gittins"):
                of = lambda lease: statistics.fmean(row["mean_s"] for row in rows if (row["workload"], row["lease_s"], row["policy"]) == (name, lease, policy))
                lines.append([name, policy] + [f"{of(lease):.4g}" for lease in LEASES])
        self.table("Leases: mean completion (s)", ["workload", "policy"] + [f"{lease} s" if lease != "learned" else lease for lease in LEASES], lines)

    def starvation(self):
        """New programs at 110 % load: how long the oldest waits, in dispatches over one more than those before it."""
        rows = []
        for policy in ("plas", "atlas", "mlfq"):
            for seed in self.seeds:
                for every in ("16", "none"):
                    it, = self.sim("react,programs=3000,load=1.1", [policy], seed, "unit:slots=8",
                                   ["beta=none", "working_set=off", f"oldest_every={every}"])
                    rows.append({"policy": policy, "seed": seed, "oldest_every": every, "starvation": it["starvation"]})
        self.write("starvation.csv", rows)
        worst = lambda policy, every: max(row["starvation"] for row in rows if (row["policy"], row["oldest_every"]) == (policy, every))
        self.table("Load 1.1: most dispatches that a call waited for, over one more than the calls before it",
                   ["policy", "every 16th dispatch to the oldest", "rule off"],
                   [[policy, f"{worst(policy, '16'):.2f}", f"{worst(policy, 'none'):.2f}"] for policy in ("plas", "atlas", "mlfq")])

    def tenants(self):
        """Two tenants of equal weight, one with ten times the programs."""
        slots, rows = 8, []
        for policy, preemption in (("fcfs", "on"), ("atlas", "off"), ("atlas", "on")):
            for seed in self.seeds:
                folder = self.out / "tenants" / f"{policy}-{preemption}-{seed}"
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / "programs.jsonl"
                made = subprocess.run([self.lps, "workload", "react,programs=1100,load=1.5", "--slots", str(slots), "--seed", str(seed), "--out", str(file)], capture_output=True, text=True)
                if made.returncode:
                    sys.exit(made.stderr)
                programs = [json.loads(line) for line in file.read_text().splitlines()]
                for number, program in enumerate(programs):
                    program["tenant"] = "small" if number % 11 == 0 else "large"
                file.write_text("".join(json.dumps(program) + "\n" for program in programs))
                self.sim(str(file), [policy], seed, f"unit:slots={slots}", ["working_set=off", f"preemption={preemption}"], folder)
                rows.append(dict({"policy": policy, "preemption": preemption, "seed": seed}, **difference(folder / policy, programs, slots)))
        self.write("tenants.csv", rows)
        self.table("Two tenants, one with ten times the programs: difference of charged service while both are backlogged (s)",
                   ["policy", "preemption", "seed", "largest difference", "bound", "idle slots while calls waited (s)"],
                   [[row["policy"], row["preemption"], str(row["seed"]), f"{row['difference_s']:.1f}", f"{row['bound_s']:.1f}", f"{row['withheld_s']:.3f}"] for row in rows])


def difference(folder, programs, slots):
    """The largest growth of the difference of two tenants' service over a time in which both wait, and its bound."""
    tenant_of = {program["program"]: program["tenant"] for program in programs}
    calls = list(csv.DictReader(open(folder / "calls.csv")))
    events = []
    for call in calls:
        tenant = tenant_of[call["program"]]
        events += [(float(call["ready_s"]), 0, tenant, 1), (float(call["start_s"]), 0, tenant, -1)]
    for piece in csv.DictReader(open(folder / "slices.csv")):
        tenant = tenant_of[piece["program"]]
        events += [(float(piece["start_s"]), 1, tenant, 1), (float(piece["end_s"]), 1, tenant, -1)]
    events.sort(key=lambda event: event[0])
    waiting, running, charged = ({"small": 0, "large": 0} for _ in range(3))
    last, low, high, most, withheld = 0.0, None, None, 0.0, 0.0
    for at, kind, tenant, change in events:
        for name in charged:
            charged[name] += running[name] * (at - last)
        if sum(waiting.values()) and sum(running.values()) < slots:
            withheld += (slots - sum(running.values())) * (at - last)
        gap = charged["large"] - charged["small"]
        if all(waiting.values()):
            low, high = (gap, gap) if low is None else (min(low, gap), max(high, gap))
            most = max(most, high - low)
        else:
            low = high = None
        last = at
        (running if kind else waiting)[tenant] += change
    longest = max(float(call["service_s"]) for call in calls)
    return {"difference_s": most, "bound_s": 2 * slots * longest, "withheld_s": withheld}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lps")
    parser.add_argument("out")
    parser.add_argument("--quick", action="store_true", help="one seed, two loads")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", default="curves,rates,working-set,leases,starvation,tenants")
    args = parser.parse_args()
    study = Study(args.lps, args.out, [1] if args.quick else [int(seed) for seed in args.seeds.split(",")])
    parts = {"curves": lambda: study.curves([0.8, 1.3] if args.quick else LOADS), "rates": study.rates,
             "working-set": study.working_set, "leases": study.leases, "starvation": study.starvation, "tenants": study.tenants}
    for part in args.only.split(","):
        if part not in parts:
            sys.exit(f"no part {part!r}: {', '.join(parts)}")
        parts[part]()
    (study.out / "tables.md").write_text("\n".join(study.lines) + "\n")
    print(f"{study.out}/tables.md")


if __name__ == "__main__":
    main()
