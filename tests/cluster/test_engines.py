"""From a resource to engines, by a real operator, kubelet and engine."""

import json

import pytest

from cluster import resource, wait_for

pytestmark = pytest.mark.usefixtures("operator", "router")


def uids(cluster, name):
    return {pod: body["metadata"]["uid"] for pod, body in cluster.engines(name).items()}


def gone(cluster, name):
    cluster.kubectl("delete", "lps", name)
    wait_for(f"no engine of {name}", lambda: not cluster.engines(name))


def test_applying_a_resource_gives_an_engine_that_answers(cluster):
    cluster.apply(resource("demo", model={"name": "demo", "source": {"builtin": "demo"}}))
    cluster.kubectl("wait", "--for=condition=Ready", "lps/demo", "--timeout=120s")
    address = cluster.engines("demo")["demo-0"]["status"]["podIP"]
    body = {"model": "demo", "messages": [{"role": "user", "content": "What is a program?"}]}
    answer = cluster.inside("curl", "-fsS", f"http://{address}:8000/v1/chat/completions", "-H",
                            "content-type: application/json", "-d", json.dumps(body)).stdout
    assert "program" in json.loads(answer)["choices"][0]["message"]["content"].lower()
    row = cluster.kubectl("get", "lps", "demo", "--no-headers").stdout.split()
    assert row[:5] == ["demo", "demo", "True", "1", "1"]
    service = cluster.get("service", "demo-engines")
    assert service["spec"]["clusterIP"] == "None"
    gone(cluster, "demo")
    wait_for("no Service", lambda: cluster.get("service", "demo-engines") is None)


def test_an_engine_that_dies_is_replaced_and_the_others_stay(cluster):
    cluster.apply(resource("loss", scaling={"min": 2}))
    cluster.wait_ready("loss")
    before = uids(cluster, "loss")
    cluster.kubectl("delete", "pod", "loss-0", "--force", "--grace-period=0")
    wait_for("another loss-0", lambda: uids(cluster, "loss").get("loss-0") not in (None, before["loss-0"]))
    cluster.wait_ready("loss")
    assert uids(cluster, "loss")["loss-1"] == before["loss-1"]
    gone(cluster, "loss")


def test_kubectl_scale_adds_and_drains_engines(cluster):
    off = {"scaling": {"mode": "Manual"}, "rollout": {"drainTimeout": "1s"}}
    cluster.apply(resource("scale", **off))
    cluster.wait_ready("scale")
    first = uids(cluster, "scale")
    cluster.kubectl("scale", "lps/scale", "--replicas=3")
    wait_for("three engines", lambda: len(cluster.engines("scale")) == 3)
    cluster.wait_ready("scale")
    assert uids(cluster, "scale")["scale-0"] == first["scale-0"]
    cluster.kubectl("scale", "lps/scale", "--replicas=1")
    wait_for("one engine", lambda: len(cluster.engines("scale")) == 1)
    cluster.kubectl("scale", "lps/scale", "--replicas=0")
    cluster.wait_ready("scale", "ScaledToZero")
    wait_for("no engine in the status", lambda: not cluster.get("lps", "scale")["status"].get("engines"))
    gone(cluster, "scale")


def test_a_changed_engine_is_rolled_out_one_by_one(cluster):
    quick = {"scaling": {"min": 2}, "rollout": {"drainTimeout": "1s"}}
    cluster.apply(resource("roll", **quick))
    cluster.wait_ready("roll")
    before = uids(cluster, "roll")
    cluster.apply(resource("roll", engine={"maxNumSeqs": 4}, **quick))
    wait_for("no engine of before", lambda: not set(uids(cluster, "roll").values()) & set(before.values()))
    cluster.wait_ready("roll")
    engines = cluster.engines("roll")
    assert len(engines) == 2
    for pod in engines.values():
        arguments = pod["spec"]["containers"][0]["args"]
        assert arguments[arguments.index("--max-num-seqs") + 1] == "4"
    # What does not change an engine restarts none.
    now = uids(cluster, "roll")
    cluster.apply(resource("roll", engine={"maxNumSeqs": 4}, scheduling={"policy": "plas"}, **quick))
    cluster.wait_ready("roll")
    assert uids(cluster, "roll") == now
    gone(cluster, "roll")


@pytest.mark.parametrize(
    "sections,reason,word",
    [
        ({"scheduling": {"beta": "-1"}}, "InvalidSpec", "spec.scheduling.beta"),
        ({"model": {"name": "m", "source": {"huggingFace": {"repo": "a/b"}}}}, "NotAvailable", "huggingFace"),
    ],
)
def test_what_the_operator_cannot_do_is_told_and_stops_nobody_else(cluster, sections, reason, word):
    cluster.apply(resource("bad", **sections))
    stalled = wait_for("Stalled", lambda: cluster.condition("bad", "Stalled"))
    assert stalled["reason"] == reason and word in stalled["message"]
    assert cluster.condition("bad", "Ready")["status"] == "False"
    cluster.apply(resource("good"))
    cluster.wait_ready("good")
    gone(cluster, "good")
    gone(cluster, "bad")


@pytest.mark.parametrize(
    "engine,reason",
    [
        ({"image": "localhost/nothing:1"}, "ImagePull"),
        ({"device": "cuda"}, "InsufficientGPU"),
        ({"extraArgs": ["--no-such-flag"]}, "CrashLoop"),
    ],
)
def test_why_an_engine_does_not_start_stands_in_the_resource(cluster, engine, reason):
    cluster.apply(resource("why", engine=engine))
    wait_for(reason, lambda: (cluster.condition("why", "Ready") or {}).get("reason") == reason)
    wide = cluster.kubectl("get", "lps", "why", "-o", "wide", "--no-headers").stdout
    assert reason in wide
    gone(cluster, "why")


def test_engines_run_under_restricted_pod_security(cluster):
    cluster.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")
    cluster.apply(resource("safe"))
    cluster.wait_ready("safe")
    gone(cluster, "safe")
    cluster.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce-")
