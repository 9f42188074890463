"""The chart's release as a whole, in a cluster of its own, under load: upgrades, losses, the end.

What clients saw is printed and counted; `pytest -s` shows it.
"""

import collections
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from cluster import HERE, ROOT, resource, wait_for
from release import SYSTEM

# 50 ms a token, answers end at their limit only.
SLOW = {"maxNumSeqs": 64, "extraArgs": ["--sim-step-us", "50000", "--sim-output-tokens", "0"]}


class Load:
    """Clients that call until they are told to stop; what they saw."""

    def __init__(self, release, model, **options):
        self.stop = HERE / f".stop-{os.getpid()}-{time.monotonic_ns()}"
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [HERE / "kin", sys.executable, HERE / "load.py", "--url", release.address(), "--model", model,
             "--forever", self.stop, *flags], stdout=subprocess.PIPE, text=True, env=release.cluster.env)
        self.calls = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        # Every program is at its second call.
        wait_for("calls", lambda: len(self.calls) >= options["programs"])

    def read(self):
        for line in self.process.stdout:
            self.calls.append(json.loads(line))

    def end(self):
        self.stop.touch()
        self.process.wait(200)
        self.reader.join()
        self.stop.unlink()
        return self.calls


def tell(what, calls):
    """Prints and gives back how the calls ended."""
    ends = collections.Counter(call["error"] or "complete" for call in calls)
    print(f"\n{what}: {len(calls)} calls: {dict(ends)}")
    return ends


@pytest.fixture(scope="module")
def slow(release):
    """A resource with two slow engines."""
    release.cluster.apply(resource("slow", engine=SLOW, scaling={"mode": "Manual", "min": 2}))
    release.cluster.wait_ready("slow")
    return release


def uids(release):
    return {pod: body["metadata"]["uid"] for pod, body in release.cluster.engines("slow").items()}


def test_the_quickstart_answers_by_the_services_name(release):
    release.cluster.kubectl("apply", "-f", ROOT / "examples" / "quickstart.yaml")
    release.cluster.kubectl("wait", "--for=condition=Ready", "lps", "--all", "--timeout=120s")
    print(release.cluster.kubectl("get", "lps").stdout)
    print(release.cluster.kubectl("get", "lps", "-o", "wide").stdout)
    done = release.cluster.inside("helm", "test", "lps", "-n", SYSTEM, "--logs")
    print(done.stdout)
    assert "and so does demo" in done.stdout
    release.cluster.kubectl("delete", "-f", ROOT / "examples" / "quickstart.yaml", "--timeout=60s")


def test_accounts_may_do_what_they_need_and_no_more(release):
    accounts = [(SYSTEM, "lps-operator"), (SYSTEM, "lps-router"), (SYSTEM, "default")]
    for namespace, account in accounts:
        who = f"system:serviceaccount:{namespace}:{account}"
        rights = release.cluster.kubectl("auth", "can-i", "--list", "--as", who).stdout
        print(f"\n{account}\n{rights}")
        assert "secrets" not in rights and "*.*" not in rights
    pods = release.system("get", "pods", "-o", "json").stdout
    assert all(pod["spec"]["serviceAccountName"] != "default" for pod in json.loads(pods)["items"])


def test_an_upgrade_cuts_no_stream_and_restarts_no_engine(slow):
    before, load = uids(slow), Load(slow, "slow", programs=16, tokens=150, retries=2)
    router = slow.active()
    slow.cluster.inside("helm", "upgrade", "lps", ROOT / "charts" / "lps", "-n", SYSTEM, "--wait", "--timeout", "3m",
                        "--set", "router.podAnnotations.upgraded=yes", "--set", "operator.podAnnotations.upgraded=yes")
    wait_for("another router", lambda: slow.active() not in (None, router))
    calls = load.end()
    ends = tell("helm upgrade", calls)
    assert set(ends) == {"complete"} and uids(slow) == before


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_a_router_that_fails_is_followed_by_another(slow, signal):
    """Killed, it is started again at once and finds its own Lease; stopped, it loses it to the other."""
    before, load = uids(slow), Load(slow, "slow", programs=16, tokens=40, retries=5)
    router, began = slow.active(), time.monotonic()
    slow.signal(signal, "lps-router", f"LPS_POD_NAME={router}")
    if signal == "STOP":
        wait_for("another router", lambda: slow.active() not in (None, router))
        print(f"\nSTOP: another router after {time.monotonic() - began:.1f} s")
    late = Load(slow, "slow", programs=4, tokens=4, retries=8, prefix="late").end()
    print(f"{signal}: an answer after {min(call['ended'] for call in late if call['ok']) - began:.1f} s")
    ends = tell(signal, load.end())
    assert set(tell(f"after {signal}", late)) == {"complete"}
    assert ends["complete"] >= 16 and uids(slow) == before
    # Each program lost at most the call that it had.
    assert sum(ends.values()) - ends["complete"] <= 16


def test_an_operator_that_is_killed_costs_nobody_anything(slow):
    before, load = uids(slow), Load(slow, "slow", programs=8, tokens=40)
    slow.signal("KILL", "lps-operator", "run")
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=3")
    wait_for("three engines", lambda: len(slow.cluster.engines("slow")) == 3)
    slow.cluster.wait_ready("slow")
    assert set(tell("the operator's loss", load.end())) == {"complete"}
    assert before.items() <= uids(slow).items()
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=2")
    wait_for("two engines", lambda: len(slow.cluster.engines("slow")) == 2)
    slow.cluster.wait_ready("slow")


def test_an_api_server_that_is_away_for_20_s_is_not_noticed_by_clients(slow):
    before, load = uids(slow), Load(slow, "slow", programs=8, tokens=40)
    [pid] = slow.cluster.inside("pgrep", "-x", "kube-apiserver").stdout.split()
    command = slow.cluster.inside("cat", f"/proc/{pid}/cmdline").stdout.split("\0")[:-1]
    slow.cluster.inside("kill", "-KILL", pid)
    away_until = time.monotonic() + 20
    wait_for("20 s", lambda: time.monotonic() > away_until)
    with open(os.devnull, "wb") as nowhere:
        server = subprocess.Popen([HERE / "kin", *command], stdout=nowhere, stderr=nowhere, env=slow.cluster.env)
    wait_for("the API server", lambda: slow.cluster.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)
    assert server.poll() is None
    slow.cluster.wait_ready("slow")
    assert set(tell("20 s without an API server", load.end())) == {"complete"} and uids(slow) == before
    wait_for("a router that works", slow.active)
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=3")
    wait_for("three engines", lambda: slow.cluster.get("lps", "slow")["status"]["readyReplicas"] == 3)
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=2")
    slow.cluster.wait_ready("slow")


@pytest.mark.parametrize("how", ["the process is killed", "the pod is deleted by force"])
def test_an_engine_that_is_lost_costs_its_own_calls_only(slow, how):
    before, load = uids(slow), Load(slow, "slow", programs=16, tokens=40, retries=5)
    victim = sorted(before)[0]
    if how.startswith("the process"):
        slow.signal("KILL", "lps-engine", victim)
    else:
        slow.cluster.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
    wait_for("another engine", lambda: before[victim] not in uids(slow).values() and len(uids(slow)) == 2)
    slow.cluster.wait_ready("slow")
    calls = load.end()
    ends = tell(how, calls)
    survivor = f"default/{next(name for name in before if name != victim)}"
    lost = [call for call in calls if call["error"]]
    assert len(lost) <= 16 and ends["complete"] > 0
    assert not [call for call in lost if call["engine"] == survivor], "the other engine's calls are not touched"


def test_resources_first_then_the_release_and_only_the_definition_is_left(slow):
    slow.cluster.kubectl("delete", "lps", "--all", "--timeout=60s")
    wait_for("no engine", lambda: not slow.cluster.engines("slow"))
    slow.cluster.inside("helm", "uninstall", "lps", "-n", SYSTEM, "--wait", "--timeout", "2m")
    kinds = "deployments,pods,services,serviceaccounts,jobs,roles,rolebindings,netpol,pdb,leases"
    # A router ends when its last streams have.
    wait_for("no router", lambda: not slow.system("get", "pods", "-o", "name").stdout)
    left = slow.cluster.kubectl("get", kinds, "-A", "-o", "name").stdout.split()
    ours = [name for name in left if "lps" in name or "slow" in name]
    roles = slow.cluster.kubectl("get", "clusterroles,clusterrolebindings,crds", "-o", "name").stdout.split()
    ours += [name for name in roles if "lps" in name or "llmprogram" in name]
    print(f"\nleft: {ours}")
    assert [name for name in ours if not name.startswith("lease")] == [
        "customresourcedefinition.apiextensions.k8s.io/llmprogramservings.llmprogram.dev"]
