"""Scaling, rollouts and waiting under load, for as long as it takes: `scripts/test-cluster.sh -m long`.

What clients saw is printed and counted; `pytest -s` shows it.
"""

import json
import random
import subprocess
import sys
import time

import pytest

from clients import SLOW, Load, tell
from cluster import HERE, ROOT, resource, wait_for
from release import SYSTEM

pytestmark = pytest.mark.long

# 50 ms a token: over 60 s.
LONG = 1300


def uids(release, name):
    return {pod: body["metadata"]["uid"] for pod, body in release.cluster.engines(name).items()}


def engines(release, name):
    """What the status tells of each engine."""
    return {one["pod"]: one for one in release.cluster.get("lps", name)["status"].get("engines", [])}


def ready(release, name, count):
    wait_for(f"{count} engines", lambda: release.cluster.get("lps", name)["status"].get("readyReplicas") == count and
             len(uids(release, name)) == count, timeout_s=400)
    return uids(release, name)


def figures(engine):
    return {key: engine.get(key) for key in ("state", "calls", "kvBlocks")}


def spanning(calls, at):
    """Streams that were open at that time, of calls that have ended since."""
    return [call for call in calls if call["sent"] < at < call["ended"]]


def test_engines_come_and_go_under_load_and_no_stream_notices(release):
    scaling = {"min": 1, "max": 3, "targetCallsPerEngine": 8, "scaleDownDelay": "10s"}
    release.cluster.apply(resource("busy", engine=SLOW, scaling=scaling))
    release.cluster.wait_ready("busy")
    alone = uids(release, "busy")
    long = Load(release, "busy", programs=4, tokens=LONG, prefix="long")
    burst = Load(release, "busy", programs=20, tokens=100, prefix="burst", end=1).started()
    full, out_at = ready(release, "busy", 3), time.monotonic()
    print(f"\n1 -> 3: before {alone}\n        after  {full}")
    assert alone.items() <= full.items()
    assert set(tell("the burst", burst.end())) == {"complete"}
    # Less load, and long streams on each engine.
    late = Load(release, "busy", forever=False, programs=7, calls=5, tokens=LONG, prefix="late", end=1)

    seen = {}

    def draining():
        now = engines(release, "busy")
        going = {pod for pod, one in now.items() if one.get("state") == "Draining"}
        if not going:
            seen.clear()
            seen.update({pod: one for pod, one in now.items() if one.get("state") == "Ready"})
        return going

    victim = wait_for("a drain", draining, timeout_s=300).pop()
    print("candidates " + ", ".join(f"{pod}: {figures(one)}" for pod, one in sorted(seen.items())) + f"; victim {victim}")
    # The figures that the operator went by may be a token newer.
    fewest = min(one.get("calls", 0) for one in seen.values())
    assert seen[victim].get("calls", 0) == fewest < max(one.get("calls", 0) for one in seen.values())

    again = Load(release, "busy", programs=20, tokens=100, prefix="again", end=1)
    back = ready(release, "busy", 3)
    print(f"load returns during the drain: {'the same pods' if back == full else back}")
    assert back == full
    assert set(tell("the second burst", again.end())) == {"complete"}
    assert set(tell("later long streams", late.end())) == {"complete"}
    one, in_at = ready(release, "busy", 1), time.monotonic()
    print(f"3 -> 1: {one}")
    assert one.items() <= full.items(), "no pod was made in vain"
    streams = long.end()
    assert set(tell("long streams", streams)) == {"complete"}
    for what, at in (("1 -> 3", out_at), ("3 -> 1", in_at)):
        lengths = [call["ended"] - call["sent"] for call in spanning(streams, at)]
        print(f"{len(lengths)} streams span {what}; the shortest took {min(lengths):.0f} s")
        assert len(lengths) == 4
    print(json.dumps(release.cluster.get("lps", "busy")["status"]["scaling"]["history"], indent=1))
    release.cluster.kubectl("delete", "lps", "busy", "--timeout=120s")

    quick = {"maxNumSeqs": 64, "extraArgs": ["--sim-step-us", "100", "--sim-output-tokens", "0"]}
    release.cluster.apply(resource("busy", engine=quick, scaling={"mode": "Manual"}))
    release.cluster.wait_ready("busy")
    many = max(call["number"] for call in streams) + 1
    undisturbed = Load(release, "busy", forever=False, programs=4, tokens=LONG, prefix="long", calls=many).end()
    expected = {(call["program"], call["number"]): call["hash"] for call in undisturbed}
    equal = [call["hash"] == expected[call["program"], call["number"]] for call in streams]
    print(f"{sum(equal)} of {len(equal)} streams equal the undisturbed run")
    assert all(equal)
    release.cluster.kubectl("delete", "lps", "busy", "--timeout=60s")


def test_a_live_program_in_a_tool_call_keeps_the_last_engine(release):
    scaling = {"min": 0, "max": 1, "idleAfter": "1s", "scaleDownDelay": "1s"}
    release.cluster.apply(resource("tool", scaling=scaling))
    release.cluster.wait_ready("tool", "ScaledToZero")
    calls = Load(release, "tool", forever=False, programs=1, tokens=8, prefix="tool").end()
    assert set(tell("a held streaming call", calls)) == {"complete"}
    kept = uids(release, "tool")

    def held():
        one = release.cluster.condition("tool", "ScalingActive")
        return one if one["reason"] == "LivePrograms" else None

    print(f"in its tool call: {wait_for('LivePrograms', held)['message']}")
    assert uids(release, "tool") == kept
    release.cluster.inside("curl", "-fsS", "-X", "POST", f"{release.address()}/v1/programs/tool0/end")
    release.cluster.wait_ready("tool", "ScaledToZero")
    wait_for("no engine", lambda: not uids(release, "tool"))
    print(release.cluster.kubectl("get", "lps", "tool", "-o", "wide").stdout)
    release.cluster.kubectl("delete", "lps", "tool", "--timeout=60s")


def unschedulable(pod):
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "PodScheduled" and one.get("reason") == "Unschedulable" for one in conditions)


@pytest.mark.parametrize("room", [True, False], ids=["with-room", "without-room"])
def test_a_rollout_under_50_streams_cuts_none(release, room):
    # The node has two cores.
    cpu = "100m" if room else "1100m"
    engine = SLOW | {"resources": {"requests": {"cpu": cpu}}}
    settings = {"scaling": {"mode": "Manual"}}
    release.cluster.apply(resource("roll", engine=engine, **settings))
    release.cluster.wait_ready("roll")
    before = uids(release, "roll")
    old = Load(release, "roll", forever=False, programs=50, tokens=60, calls=6, prefix="old", end=1).started()
    began = time.monotonic()
    release.cluster.apply(resource("roll", engine=engine | {"maxNumSeqs": 60}, **settings))
    wait_for("the rollout", lambda: release.cluster.condition("roll", "Reconciling"))
    new = Load(release, "roll", forever=False, programs=10, tokens=20, calls=2, prefix="new", end=1)
    fresh = wait_for("a new engine", lambda: set(uids(release, "roll").values()) - set(before.values()))
    came = time.monotonic()
    [name] = [pod for pod, uid in uids(release, "roll").items() if uid in fresh]
    if room:
        wait_for("both", lambda: len([one for one in engines(release, "roll").values() if one.get("state") in ("Ready", "Draining")]) == 2)
    else:
        wait_for("no room", lambda: unschedulable(release.cluster.engines("roll")[name]))
    wait_for("no old engine", lambda: set(uids(release, "roll").values()) == fresh)
    print(f"\n{'with' if room else 'without'} room: a pod after {came - began:.1f} s, alone after {time.monotonic() - began:.1f} s")
    release.cluster.wait_ready("roll")
    for what, calls in (("programs of before", old.end()), ("programs that came during it", new.end())):
        assert set(tell(what, calls)) == {"complete"}
        revisions = {}
        for call in calls:
            # The head of a call that was held came before its engine was known; only the new one was to come.
            engine = (call["engine"] or f"default/{name}").split("/")[1]
            revisions.setdefault(call["program"], set()).add("old" if engine in before else "new")
        print({kind: sum(kind in each for each in revisions.values()) for kind in ("old", "new")}, "programs on each revision")
        assert all(len(each) == 1 for each in revisions.values())
    release.cluster.kubectl("delete", "lps", "roll", "--timeout=60s")


def test_500_held_calls_go_by_the_policy_and_one_more_is_refused(release):
    release.cluster.inside("helm", "upgrade", "lps", ROOT / "charts" / "lps", "-n", SYSTEM, "--wait", "--timeout", "3m",
                           "--set", "router.extraArgs={--ready-limit-per-tenant=500}")
    one = {"engine": {"maxNumSeqs": 1, "extraArgs": ["--sim-step-us", "2000", "--sim-output-tokens", "0"]},
           "scheduling": {"policy": "plas", "unit": "tokens:0,1000000", "beta": "none", "maxQueueWait": "none",
                          "oldestEvery": "none", "bounds": ["50", "100", "200"], "quanta": ["50", "50", "100", "none"]},
           "scaling": {"mode": "Manual", "coldStartHold": "5m"}, "rollout": {"drainTimeout": "1s"}}
    release.cluster.apply(resource("order", **one))
    release.cluster.wait_ready("order")
    served = {0: 0, 60: 1, 150: 2, 300: 3}

    def level(program):
        return served[int(program[1:].split("-")[0])]

    for tokens in filter(None, served):
        calls = Load(release, "order", forever=False, programs=10, tokens=tokens, prefix=f"s{tokens}-").end()
        assert set(tell(f"10 programs of {tokens} tokens", calls)) == {"complete"}
    release.cluster.kubectl("scale", "lps/order", "--replicas=0")
    wait_for("no engine", lambda: not uids(release, "order"))
    programs = [f"s{tokens}-{n}" for tokens in served for n in range(10)] * 12 + [f"s0-{n}" for n in range(10)] * 2
    random.Random(4).shuffle(programs)
    router = json.loads(release.system("get", "pod", wait_for("a router", release.active), "-o", "json").stdout)
    admin = f"http://{router['status']['podIP']}:8081"
    process = subprocess.Popen(
        [HERE / "kin", sys.executable, HERE / "held.py", "--url", release.address(), "--admin", admin, "--model", "order",
         "--programs", ",".join(programs), "--tokens", "20", "--over", "10"],
        stdout=subprocess.PIPE, text=True, env=release.cluster.env)
    over = [json.loads(process.stdout.readline())["error"] for _ in range(10)]
    print(f"\nover the bound: {over[0]}")
    assert all(one["status"] == 429 and one["retry_after"] for one in over)
    release.cluster.kubectl("scale", "lps/order", "--replicas=1")
    calls = [json.loads(line) for line in process.stdout]
    assert process.wait(60) == 0 and all(call["ok"] for call in calls) and len(calls) == 500
    answered = [(call["program"], call["arrived"]) for call in sorted(calls, key=lambda call: call["first"])]
    by_policy = sorted(((program, n) for n, program in enumerate(programs)), key=lambda it: (level(it[0]), it[1]))
    print(f"arrived  {programs[:12]} …\nanswered {[program for program, _ in answered[:12]]} …")
    levels = [level(program) for program, _ in answered]
    print("levels as they arrived: ", "".join(str(level(program)) for program in programs))
    print("levels as they answered:", "".join(map(str, levels)))
    assert levels == sorted(levels) != [level(program) for program in programs]
    # Three at a time are sent to the engine, where those of one level start as they come in.
    off = max(abs(place - by_policy.index(one)) for place, one in enumerate(answered))
    print(f"no call is more than {off} places from where the policy puts it")
    assert off <= 4
    release.cluster.kubectl("delete", "lps", "order", "--timeout=60s")
