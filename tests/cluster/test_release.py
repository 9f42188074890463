"""The chart's release as a whole, in a cluster of its own, under load: upgrades, losses, the end.

What clients saw is printed and counted; `pytest -s` shows it.
"""

import json
import os
import subprocess
import time

import pytest

from clients import SLOW, Load, tell
from cluster import HERE, ROOT, resource, wait_for
from release import SYSTEM


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


def test_accounts_may_do_what_they_need_and_no_more(slow):
    release = slow
    engine = next(iter(release.cluster.engines("slow").values()))["spec"]["serviceAccountName"]
    accounts = [(SYSTEM, "lps-operator"), (SYSTEM, "lps-router"), ("default", engine)]
    for namespace, account in accounts:
        who = f"system:serviceaccount:{namespace}:{account}"
        rights = release.cluster.kubectl("auth", "can-i", "--list", "--as", who).stdout
        print(f"\n{account}\n{rights}")
        assert "secrets" not in rights and "*.*" not in rights
    pods = release.system("get", "pods", "-o", "json").stdout
    assert all(pod["spec"]["serviceAccountName"] != "default" for pod in json.loads(pods)["items"])


def test_an_upgrade_cuts_no_stream_and_restarts_no_engine(slow):
    before, load = uids(slow), Load(slow, "slow", programs=16, tokens=150, retries=2).started()
    router = slow.active()
    slow.cluster.inside("helm", "upgrade", "lps", ROOT / "charts" / "lps", "-n", SYSTEM, "--wait", "--timeout", "3m",
                        "--set", "router.podAnnotations.upgraded=yes", "--set", "operator.podAnnotations.upgraded=yes")
    wait_for("another router", lambda: slow.active() not in (None, router))
    calls = load.end()
    ends = tell("helm upgrade", calls)
    assert set(ends) == {"complete"} and uids(slow) == before


@pytest.mark.parametrize("signal", ["KILL", pytest.param("STOP", marks=pytest.mark.long)])
def test_a_router_that_fails_is_followed_by_another(slow, signal):
    """Killed, it is started again at once and finds its own Lease; stopped, it loses it to the other."""
    before, load = uids(slow), Load(slow, "slow", programs=16, tokens=40, retries=5).started()
    router, began = slow.active(), time.monotonic()
    slow.signal(signal, "lps-router", f"LPS_POD_NAME={router}")
    if signal == "STOP":
        wait_for("another router", lambda: slow.active() not in (None, router))
        print(f"\nSTOP: another router after {time.monotonic() - began:.1f} s")
    late = Load(slow, "slow", programs=4, tokens=4, retries=8, prefix="late", forever=False).end()
    print(f"{signal}: an answer after {min(call['ended'] for call in late if call['ok']) - began:.1f} s")
    ends = tell(signal, load.end())
    assert set(tell(f"after {signal}", late)) == {"complete"}
    assert ends["complete"] >= 16 and uids(slow) == before
    # Each program lost at most the call that it had.
    assert sum(ends.values()) - ends["complete"] <= 16


def test_an_operator_that_is_killed_costs_nobody_anything(slow):
    before, load = uids(slow), Load(slow, "slow", programs=8, tokens=40).started()
    slow.signal("KILL", "lps-operator", "run")
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=3")
    wait_for("three engines", lambda: len(slow.cluster.engines("slow")) == 3)
    slow.cluster.wait_ready("slow")
    assert set(tell("the operator's loss", load.end())) == {"complete"}
    assert before.items() <= uids(slow).items()
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=2")
    wait_for("two engines", lambda: len(slow.cluster.engines("slow")) == 2)
    slow.cluster.wait_ready("slow")


@pytest.mark.parametrize("how", ["the process is killed", "the pod is deleted by force"])
def test_an_engine_that_is_lost_costs_its_own_calls_only(slow, how):
    before, load = uids(slow), Load(slow, "slow", programs=16, tokens=40, retries=5).started()
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


def test_an_api_server_that_is_away_for_20_s_is_not_noticed_by_clients(slow):
    before, load = uids(slow), Load(slow, "slow", programs=8, tokens=40).started()
    [pid] = slow.cluster.inside("pgrep", "-x", "kube-apiserver").stdout.split()
    command = slow.cluster.inside("cat", f"/proc/{pid}/cmdline").stdout.split("\0")[:-1]
    slow.cluster.inside("kill", "-KILL", pid)
    away_until = time.monotonic() + 20
    wait_for("20 s", lambda: time.monotonic() > away_until)
    with open(os.devnull, "wb") as nowhere:
        server = subprocess.Popen([HERE / "kin", *command], stdout=nowhere, stderr=nowhere, env=slow.cluster.env)
    wait_for("the API server", lambda: slow.cluster.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)
    assert server.poll() is None
    back = time.monotonic()
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=3")
    wait_for("three engines", lambda: len(slow.cluster.engines("slow")) == 3)
    print(f"\na third engine {time.monotonic() - back:.1f} s after the API server is back")
    wait_for("a router that works", slow.active)
    print(f"a Lease is held {time.monotonic() - back:.1f} s after it is back")
    assert set(tell("20 s without an API server", load.end())) == {"complete"} and before.items() <= uids(slow).items()
    # The node's own programs take a minute to look again; nobody waits for its start.
    slow.cluster.kubectl("scale", "lps/slow", "--replicas=2")
    wait_for("two engines", lambda: len(slow.cluster.engines("slow")) == 2)
