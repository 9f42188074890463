"""The contract of an arm of `make bench-engine`, and what those written in Python share.

An arm is a process. It reads one line of JSON, the job, from standard input:

    {"model": DIR, "dtype": "bfloat16", "threads": 2, "max_model_len": 4608, "max_num_seqs": 32, "kv_bytes": 4000000000,
     "warm_up": [token, …], "workloads": [{"name": "decode_8", "prompts": [[token, …], …], "steps": 64}, …]}

It loads the model, computes one token after `warm_up`, and writes {"ready": VERSIONS}: the time from its start to that
line is its time to the first token. Then it runs the workloads in turn and writes a line for each:

    {"workload": NAME, "first_s": 1.2, "decode_s": 3.4, "decode_tokens": 512}

All prompts of a workload are handed in at once; tokens are drawn greedily, and none ends a sequence. `first_s` is the
time until each sequence has its first token. `decode_s` runs from when each has its second until each has `steps`
more, and `decode_tokens` is how many were drawn meanwhile; with 0 steps both are 0. No prefix cache. What cannot be run
is {"workload": NAME, "error": WHY}. Standard output is for these lines alone.
"""
import json
import os
import sys
import time

SETTLED = 2
now = time.perf_counter


class Channel:
    """Standard output, kept from libraries that write there too."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, **line):
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()


def serve(load):
    """Runs the job: `load(job)` gives an arm with `versions` and `run(prompts, steps) -> (first_s, decode_s, tokens)`."""
    channel = Channel()
    job = json.loads(sys.stdin.readline())
    arm = load(job)
    arm.run([job["warm_up"]], 0)
    channel.say(ready=arm.versions)
    for work in job["workloads"]:
        try:
            first, decode, tokens = arm.run(work["prompts"], work["steps"])
            channel.say(workload=work["name"], first_s=first, decode_s=decode, decode_tokens=tokens)
        except Exception as error:  # noqa: BLE001 (the report names what a peer cannot do, and the rest goes on)
            channel.say(workload=work["name"], error=f"{type(error).__name__}: {error}"[:300])
