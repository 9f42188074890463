"""`kubectl lps`: the user's tool as a plugin, through the API server, with the user's kubeconfig."""

import json
import time

import pytest

from cluster import BIN, resource, wait_for


@pytest.fixture(scope="module")
def cluster(release):
    return release.cluster


@pytest.fixture(scope="module")
def lps(cluster, tmp_path_factory):
    """Runs `kubectl lps`."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "kubectl-lps").symlink_to(BIN / "lps")

    def run(*arguments, code=0):
        script = 'PATH="$0:$PATH" exec kubectl lps "$@"'
        done = cluster.inside("bash", "-c", script, folder, *arguments, check=False)
        print(done.stdout, done.stderr)
        assert done.returncode == code, (arguments, done.returncode)
        return done.stdout + done.stderr

    return run


def test_usage_says_how_it_was_called(lps):
    assert "Usage: kubectl lps" in lps("--help")


def test_calls_and_programs_pass_through_the_api_server(cluster, lps):
    cluster.apply(resource("demo", model={"name": "demo", "source": {"builtin": "demo"}}))
    cluster.kubectl("wait", "--for=condition=Ready", "lps/demo", "--timeout=120s")
    assert "program" in lps("chat", "What is a program?").lower()
    assert "default/demo-0" in lps("engines", "--router", "lps-system/lps-router:8080")
    lps("demo")
    programs = json.loads(lps("programs", "--json"))["data"]
    assert any(program["id"].startswith("demo-") for program in programs)
    assert "default/demo is Ready (EnginesReady" in lps("why", "demo")


def test_an_engine_is_drained_and_another_comes(cluster, lps):
    before = cluster.engines("demo")["demo-0"]["metadata"]["uid"]
    assert "engine default/demo-0 gets no new calls" in lps("drain", "demo-0")

    def another():
        uids = {pod["metadata"]["uid"] for pod in cluster.engines("demo").values()}
        return uids and before not in uids

    wait_for("another engine", another)
    cluster.wait_ready("demo")
    assert "nothing" in lps("drain", "nothing", code=1)
    cluster.kubectl("delete", "lps", "demo")


@pytest.mark.parametrize(
    "sections,reason,words",
    [
        ({"scheduling": {"bounds": ["8", "2"]}}, "InvalidSpec", ["spec.scheduling.bounds"]),
        ({"model": {"name": "m", "source": {"image": {"reference": "localhost/nothing:1"}}}}, "ModelUnavailable",
         ["container: not begun; model: waits: ", "spec.model.source"]),
        ({"model": {"name": "m", "source": {"hostPath": {"path": "/none"}}}}, "PodRefused", ["violates PodSecurity"]),
        ({"engine": {"image": "localhost/nothing:1"}}, "ImagePull", ["container: waits", "spec.engine.image"]),
        ({"engine": {"device": "cuda"}}, "InsufficientGPU", ["has no node", "nvidia.com/gpu"]),
        ({"engine": {"resources": {"requests": {"cpu": "999"}}}}, "Unschedulable", ["Insufficient cpu"]),
        ({"engine": {"extraArgs": ["--no-such-flag"]}}, "CrashLoop", ["ended with", "last words: ", "extraArgs"]),
        ({"suspend": True}, "Suspended", ["kubectl patch -n default lps/broken-suspended"]),
        ({"model": {"name": "m", "source": {"pvc": {"claim": "none"}}}}, "ModelUnavailable", ["kubectl get pvc -n default"]),
    ],
)
def test_why_a_resource_is_not_ready(cluster, lps, sections, reason, words):
    name = f"broken-{reason.lower()}"
    cluster.apply(resource(name, **{"model": {"name": name, "source": {"builtin": "sim"}}, **sections}))
    began = time.monotonic()
    wait_for(reason, lambda: (cluster.condition(name, "Ready") or {}).get("reason") == reason)
    print(f"\n{reason} {time.monotonic() - began:.1f} s after the apply")
    told = lps("why", name, code=1)
    assert f"default/{name} is not Ready ({reason}" in told
    for word in [f"{reason}: ", *words]:
        assert word in told, word
    as_json = json.loads(lps("why", name, "--json", code=1))
    # Besides, the router may just have written the number of engines: then what is told is of the generation before.
    assert as_json["ready"] is False and {reason} <= {fix["reason"] for fix in as_json["fixes"]} <= {reason, "Outdated"}
    cluster.kubectl("delete", "lps", name)


def test_why_of_nothing_is_an_error(lps):
    assert "cannot say why: no LLMProgramServing nothing in namespace default" in lps("why", "nothing", code=2)
    assert "no cluster" in lps("why", "nothing", "--context", "nowhere", code=2)
