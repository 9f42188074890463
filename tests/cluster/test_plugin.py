"""`kubectl lps`: the user's tool as a plugin, through the API server, with the user's kubeconfig."""

import json

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
        ({"scheduling": {"beta": "-1"}}, "InvalidSpec", ["spec.scheduling.beta"]),
        ({"model": {"name": "m", "source": {"huggingFace": {"repo": "a/b"}}}}, "NotAvailable", ["huggingFace"]),
        ({"engine": {"image": "localhost/nothing:1"}}, "ImagePull", ["container: waits", "spec.engine.image"]),
        ({"engine": {"device": "cuda"}}, "InsufficientGPU", ["has no node", "nvidia.com/gpu"]),
        ({"engine": {"resources": {"requests": {"cpu": "999"}}}}, "Unschedulable", ["Insufficient cpu"]),
        ({"engine": {"extraArgs": ["--no-such-flag"]}}, "CrashLoop", ["ended with", "last words: ", "extraArgs"]),
        ({"suspend": True}, "Suspended", ["kubectl patch -n default lps/broken"]),
        ({"model": {"name": "m", "source": {"pvc": {"claim": "none"}}}}, "ModelUnavailable", ["kubectl get pvc -n default"]),
    ],
)
def test_why_a_resource_is_not_ready(cluster, lps, sections, reason, words):
    cluster.apply(resource("broken", **{"model": {"name": "broken", "source": {"builtin": "sim"}}, **sections}))
    wait_for(reason, lambda: (cluster.condition("broken", "Ready") or {}).get("reason") == reason)
    told = lps("why", "broken", code=1)
    assert f"default/broken is not Ready ({reason}" in told
    for word in [f"{reason}: ", *words]:
        assert word in told, word
    as_json = json.loads(lps("why", "broken", "--json", code=1))
    assert as_json["ready"] is False and as_json["fixes"][0]["reason"] == reason
    cluster.kubectl("delete", "lps", "broken")
    wait_for("no engine", lambda: not cluster.engines("broken"))


def test_why_of_nothing_is_an_error(lps):
    assert "cannot say why: no LLMProgramServing nothing in namespace default" in lps("why", "nothing", code=2)
    assert "no cluster" in lps("why", "nothing", "--context", "nowhere", code=2)
