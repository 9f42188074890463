"""Clients, the router and engines: scaling, draining and rolling out without losing a call."""

import concurrent.futures
import hashlib
import json
import subprocess
import threading
import time

import pytest

from cluster import HERE, ROUTER, resource, wait_for

pytestmark = pytest.mark.usefixtures("operator", "router")

# 50 ms a token: a stream of 200 tokens takes ten seconds.
SLOW = {"extraArgs": ["--sim-step-us", "50000", "--sim-output-tokens", "0"]}
ZERO = {"min": 0, "max": 2, "idleAfter": "1s", "scaleDownDelay": "1s"}


def ask(cluster, model, **fields):
    """One chat through the router; its parsed answer."""
    headers = [part for name, value in fields.pop("headers", {}).items() for part in ("-H", f"{name}: {value}")]
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4,
            "ignore_eos": True} | fields
    done = cluster.inside("curl", "-sS", "--max-time", "100", f"{ROUTER}/v1/chat/completions", "-H",
                          "content-type: application/json", *headers, "-d", json.dumps(body))
    return json.loads(done.stdout)


class Stream:
    """A streamed completion that is read in the background."""

    def __init__(self, model, tokens, program=None):
        body = {"model": model, "prompt": "hello", "max_tokens": tokens, "stream": True}
        headers = ["-H", f"x-program-id: {program}"] if program else []
        self.process = subprocess.Popen(
            [HERE / "kin", "curl", "-sSN", "-D", "/dev/stderr", f"{ROUTER}/v1/completions", "-H",
             "content-type: application/json", *headers, "-d", json.dumps(body)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.head, self.lines = "", []
        self.readers = [threading.Thread(target=self.read_head), threading.Thread(target=self.read)]
        for reader in self.readers:
            reader.start()

    def read_head(self):
        for line in self.process.stderr:
            self.head += line.lower()

    def read(self):
        for line in self.process.stdout:
            if line.strip():
                self.lines.append(line.strip())
                self.ended = time.monotonic()

    def engine(self):
        """The engine that runs it, once it runs."""
        lines = wait_for("the stream's head", lambda: [line for line in self.head.splitlines() if "x-engine" in line])
        return lines[0].split(":", 1)[1].strip().split("/")[1]

    def result(self):
        """Whether it came to its end, and a hash of its text."""
        self.process.wait(120)
        for reader in self.readers:
            reader.join()
        chunks = [json.loads(line[6:]) for line in self.lines if line.startswith("data: {")]
        text = "".join(choice["text"] for chunk in chunks for choice in chunk.get("choices", []))
        return self.lines[-1:] == ["data: [DONE]"], hashlib.sha256(text.encode()).hexdigest()


def gone(cluster, name):
    cluster.kubectl("delete", "lps", name, "--timeout=60s")
    wait_for(f"no engine of {name}", lambda: not cluster.engines(name))


def uids(cluster, name):
    return {pod: body["metadata"]["uid"] for pod, body in cluster.engines(name).items()}


def test_clients_call_the_router_and_the_resource_tells_of_it(cluster):
    cluster.apply(resource("served"))
    cluster.wait_ready("served")
    answer = ask(cluster, "served", headers={"x-program-id": "told"})
    assert answer["choices"][0]["finish_reason"] == "length", answer
    wait_for("the program in the status", lambda: cluster.get("lps", "served")["status"].get("programs", {}).get("live"))
    scaling = cluster.condition("served", "ScalingActive")
    assert (scaling["status"], scaling["reason"]) == ("True", "Steady")
    pod = cluster.engines("served")["served-0"]
    admitted = [one for one in pod["status"]["conditions"] if one["type"] == "llmprogram.dev/admitted"]
    assert admitted[0]["status"] == "True"
    gone(cluster, "served")
    answer = wait_for("the model is unknown", lambda: (a := ask(cluster, "served")).get("error") and a)
    assert answer["error"]["code"] == "model_not_found"


def test_a_model_at_zero_is_listed_and_woken_and_goes_again(cluster):
    cluster.apply(resource("zero", scaling=ZERO))
    cluster.wait_ready("zero", "ScaledToZero")
    models = json.loads(cluster.inside("curl", "-s", f"{ROUTER}/v1/models").stdout)
    assert "zero" in [model["id"] for model in models["data"]]
    assert ask(cluster, "zero")["choices"][0]["finish_reason"] == "length"
    assert len(cluster.engines("zero")) == 1
    history = cluster.get("lps", "zero")["status"]["scaling"]["history"]
    assert (history[0]["from"], history[0]["to"]) == (0, 1) and history[0]["reason"].startswith("FromZero")
    wait_for("its event", lambda: "0 -> 1: FromZero" in events(cluster, "zero", "Scaled"))
    cluster.kubectl("patch", "lps/zero", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    wait_for("no engine", lambda: not cluster.engines("zero"))
    refused = ask(cluster, "zero")
    assert refused["error"]["code"] == "no_engine", "calls of a suspended model are not held"
    gone(cluster, "zero")


def test_another_writer_of_replicas_is_named_and_not_fought(cluster):
    cluster.apply(resource("two", scaling={"min": 1, "max": 3, "scaleDownDelay": "1s"}, rollout={"drainTimeout": "2s"}))
    cluster.wait_ready("two")
    wait_for("the router's number", lambda: cluster.get("lps", "two")["spec"].get("replicas") == 1)
    cluster.kubectl("scale", "lps/two", "--replicas=2")
    conflict = wait_for("ScalingConflict", lambda: cluster.condition("two", "ScalingConflict"))
    assert conflict["status"] == "True" and "kubectl" in conflict["message"]
    wait_for("its event", lambda: "kubectl" in events(cluster, "two", "ScalingConflict"))
    assert cluster.get("lps", "two")["spec"]["replicas"] == 2, "the other's number stands for a while"
    gone(cluster, "two")


def events(cluster, name, reason):
    """What the events of a resource with this reason say."""
    selector = f"involvedObject.name={name},reason={reason}"
    return cluster.kubectl("get", "events", "--field-selector", selector, "-o", "jsonpath={.items[*].message}").stdout


def test_scaling_in_drains_the_engine_with_the_least_to_lose(cluster):
    settings = {"engine": SLOW, "scaling": {"mode": "Manual", "min": 2}}
    cluster.apply(resource("drain", **settings))
    cluster.wait_ready("drain")
    alone = Stream("drain", 40).result()
    assert alone[0]
    before = uids(cluster, "drain")
    stream = Stream("drain", 200)
    busy = stream.engine()
    idle = next(name for name in before if name != busy)
    # The figures by which the operator chooses are in the status.
    wait_for("the load in the status", lambda: any(
        engine["pod"] == busy and engine.get("calls") for engine in cluster.get("lps", "drain")["status"]["engines"]))
    cluster.kubectl("scale", "lps/drain", "--replicas=1")
    wait_for("one engine", lambda: len(cluster.engines("drain")) == 1)
    assert uids(cluster, "drain") == {busy: before[busy]}, f"{idle} had nothing to lose"
    assert stream.process.poll() is None, "the stream spans the drain"
    assert stream.result()[0]
    gone(cluster, "drain")


def test_a_drain_is_cancelled_when_engines_are_wanted_again(cluster):
    cluster.apply(resource("back", engine=SLOW, scaling={"mode": "Manual", "min": 2}))
    cluster.wait_ready("back")
    before = uids(cluster, "back")
    streams = [Stream("back", 200) for _ in range(4)]
    assert {stream.engine() for stream in streams} == set(before)
    cluster.kubectl("scale", "lps/back", "--replicas=1")
    wait_for("a draining engine", lambda: cluster.get("lps", "back")["status"].get("drainingReplicas") == 1)
    cluster.kubectl("scale", "lps/back", "--replicas=2")
    cluster.wait_ready("back")
    assert uids(cluster, "back") == before, "no new pod"
    late = [Stream("back", 20) for _ in range(4)]
    assert {stream.engine() for stream in late} == set(before), "both take calls again"
    assert all(stream.result()[0] for stream in streams + late)
    gone(cluster, "back")


def test_a_rollout_cuts_no_stream_and_keeps_programs_on_their_revision(cluster):
    cluster.apply(resource("rev", engine=SLOW | {"maxNumSeqs": 16}))
    cluster.wait_ready("rev")
    before = uids(cluster, "rev")
    streams = [Stream("rev", 240, f"p{n}") for n in range(10)]
    for stream in streams:
        stream.engine()
    cluster.apply(resource("rev", engine=SLOW | {"maxNumSeqs": 8}))
    wait_for("a draining engine", lambda: cluster.get("lps", "rev")["status"].get("drainingReplicas") == 1)
    # The old engine drains; a live program's next call still goes there, a new program's does not.
    old, new = Stream("rev", 4, "p0"), Stream("rev", 4, "fresh")
    assert old.engine() in before and new.engine() not in before
    assert old.result()[0] and new.result()[0]
    results = [stream.result() for stream in streams]
    assert all(complete for complete, _ in results)
    for n in range(10):
        cluster.inside("curl", "-fsS", "-X", "POST", f"{ROUTER}/v1/programs/p{n}/end")
    wait_for("the old engine is gone", lambda: not set(uids(cluster, "rev").values()) & set(before.values()))
    gone(cluster, "rev")


def test_an_autoscaler_of_the_cluster_may_scale(cluster):
    cluster.apply(resource("hpa", scaling={"mode": "External", "min": 1, "max": 3}))
    cluster.wait_ready("hpa")
    cluster.apply({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "name": "hpa"},
            "minReplicas": 2, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
    cluster.kubectl("wait", "--for=condition=AbleToScale", "hpa/hpa", "--timeout=60s")
    # Its own bound needs no metric, which this cluster does not have.
    wait_for("two engines", lambda: len(cluster.engines("hpa")) == 2)
    assert cluster.condition("hpa", "ScalingConflict") is None
    assert cluster.condition("hpa", "ScalingActive")["reason"] == "External"
    cluster.kubectl("delete", "hpa", "hpa")
    gone(cluster, "hpa")


def test_held_calls_go_in_the_order_of_the_policy_not_of_arrival(cluster):
    """Programs of unequal service wait for an engine; the one that had least goes first."""
    one = {"engine": {"maxNumSeqs": 1, "extraArgs": ["--sim-step-us", "2000", "--sim-output-tokens", "0"]},
           "scheduling": {"policy": "plas", "unit": "tokens:0,1000000", "beta": "none", "maxQueueWait": "none",
                          "oldestEvery": "none", "bounds": ["50", "200"], "quanta": ["50", "150", "none"]},
           "scaling": {"mode": "Manual"}, "rollout": {"drainTimeout": "1s"}}
    cluster.apply(resource("order", **one))
    cluster.wait_ready("order")
    for program, tokens in (("heavy", 400), ("middle", 100)):
        assert Stream("order", tokens, program).result()[0]
    cluster.kubectl("scale", "lps/order", "--replicas=0")
    wait_for("no engine", lambda: not cluster.engines("order"))
    waiting = []
    for program in ("heavy", "middle", "fresh-0", "heavy", "fresh-1", "middle"):
        waiting.append((program, Stream("order", 20, program)))
        # Each has arrived before the next is sent.
        wait_for("its arrival", lambda: held(cluster, "order") == len(waiting))
    cluster.kubectl("scale", "lps/order", "--replicas=1")
    assert all(stream.result()[0] for _, stream in waiting)
    arrived = [program for program, _ in waiting]
    answered = [program for program, _ in sorted(waiting, key=lambda one: one[1].ended)]
    print(f"\narrived  {arrived}\nanswered {answered}")
    assert answered == ["fresh-0", "fresh-1", "middle", "middle", "heavy", "heavy"] != arrived
    gone(cluster, "order")


def held(cluster, model):
    metrics = cluster.inside("curl", "-fsS", f"{ROUTER[:-4]}8081/metrics").stdout
    [line] = [line for line in metrics.splitlines() if line.startswith(f'lps_router_waiting_calls{{model="{model}"}}')]
    return int(float(line.rsplit(" ", 1)[1]))
