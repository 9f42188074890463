"""The schedule of `docs/scheduling`'s known answers, on a real libtorch engine with one slot, by configuration only.

Three programs arrive together: X = two calls of 3 units, Y = three calls of 1, Z = one call of 1. A unit is a number of
output tokens (`unit: tokens`), so that the expected schedule does not depend on how fast this machine is.
"""

import concurrent.futures
import itertools
import json
import threading
import urllib.request

import pytest
from stack import Stack, manifest, wait_for

UNIT_TOKENS = 64
TOKEN_US = 1_000_000 // UNIT_TOKENS  # one unit is charged as one second
PROGRAMS = {"X": [3, 3], "Y": [1, 1, 1], "Z": [1]}

KNOWN = {
    "fcfs": ({"policy": "fcfs"}, "X1 Y1 Z1 X2 Y2 Y3"),
    "plas": ({"policy": "plas"}, "X1 Y1 Z1 Y2 X1 Y3 X2"),
    "atlas": ({"policy": "atlas"}, "X1 Y1 Z1 Y2 X1 Y3 X2"),
}


def scheduling(policy):
    rules = {"policy": policy, "unit": f"tokens:0,{TOKEN_US}", "beta": "none", "maxQueueWait": "none",
             "oldestEvery": "none"}
    if policy != "fcfs":
        rules |= {"bounds": ["2", "4"], "quanta": ["1", "2", "none"]}
    return rules


def call(stack, name, units, stop_gate):
    """One call of a program; blocks until its answer is complete."""
    body = {"model": "demo", "messages": [{"role": "user", "content": "Count."}], "temperature": 0, "ignore_eos": True,
            "max_tokens": units * UNIT_TOKENS, "stream": True}
    headers = {"content-type": "application/json", "x-program-id": name[0], "x-call-id": name}
    request = urllib.request.Request(f"{stack.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        stop_gate.set()
        assert answer.read().rstrip().endswith(b"data: [DONE]")


def program(stack, name, units, gate):
    for number, size in enumerate(units, 1):
        call(stack, f"{name}{number}", size, gate)


def slices(step_log):
    """The calls in the order in which the engine's one slot served them, adjacent steps merged."""
    served = []
    for line in step_log.read_text().splitlines()[1:]:
        served += [sequence["call"].split("~")[0] for sequence in json.loads(line)["sequences"]]
    return [name for name, _ in itertools.groupby(served)]


@pytest.mark.parametrize("policy", KNOWN)
def test_known_answers(tmp_path, policy):
    step_log = tmp_path / "steps.jsonl"
    resource = manifest(slots=1, scheduling=scheduling(policy), extraArgs=["--step-log", str(step_log)])
    with Stack(tmp_path, resource) as stack, concurrent.futures.ThreadPoolExecutor(4) as pool:
        # A call ahead of all holds the slot until the three programs have arrived in their order.
        gate = threading.Event()
        blocker = pool.submit(call, stack, "B1", 1, gate)
        assert gate.wait(60)
        running = []
        for name, units in PROGRAMS.items():
            running.append(pool.submit(program, stack, name, units, threading.Event()))
            wait_for(f"{name} to arrive", lambda n=name: n in {p["id"] for p in stack.get("/v1/programs")["data"]})
        for one in [blocker, *running]:
            one.result(300)
    served = slices(step_log)
    assert " ".join(served[served.index("B1") + 1 :]) == KNOWN[policy][1]
