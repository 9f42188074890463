"""Times, memory and writes of operator and router on the real API server; prints a table. Not a test: what is measured
depends on the machine. Run it with `scripts/test-cluster.sh --measure`, or a part: `… --measure zero,many`.

Owns: what is measured and how. The outer half starts a cluster; the inner half runs inside, against `kubectl proxy`.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

API = "http://127.0.0.1:8901"
ROUTER = "http://127.0.0.1:8080"
SERVINGS = "/apis/llmprogram.dev/v1alpha1/namespaces/default/llmprogramservings"
PODS = "/api/v1/namespaces/default/pods"


def request(method, url, body=None, kind="application/json"):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"content-type": kind}, method=method)
    with urllib.request.urlopen(asked, timeout=300) as answer:
        text = answer.read()
    return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()


def until(what, condition, limit_s=300, pause_s=0.01):
    end = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit_s} s for {what}")
        time.sleep(pause_s)
    return value


def serving(name, **sections):
    spec = {"model": {"name": name, "source": {"builtin": "sim"}}} | sections
    return {"apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "metadata": {"name": name}, "spec": spec}


def pods(name):
    listed = request("GET", f"{API}{PODS}?labelSelector=llmprogram.dev/serving%3D{name}")
    return {pod["metadata"]["name"]: pod for pod in listed["items"]}


def is_ready(name):
    status = request("GET", f"{API}{SERVINGS}/{name}").get("status", {})
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))


def delete(name):
    request("DELETE", f"{API}{SERVINGS}/{name}")
    until(f"{name} is gone", lambda: not pods(name) and name not in names(), pause_s=0.1)


def names():
    return [one["metadata"]["name"] for one in request("GET", API + SERVINGS)["items"]]


class FirstPod:
    """When the next pod is added, by a watch that is open before."""

    def __enter__(self):
        version = request("GET", API + PODS)["metadata"]["resourceVersion"]
        self.stream = urllib.request.urlopen(f"{API}{PODS}?watch=1&resourceVersion={version}", timeout=300)
        self.at, self.pod = None, None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        return self

    def read(self):
        for line in self.stream:
            event = json.loads(line)
            if event["type"] == "ADDED":
                self.at, self.pod = time.monotonic(), event["object"]
                return

    def __exit__(self, *_):
        self.stream.close()


def reconcile():
    times = []
    for n in range(5):
        with FirstPod() as first:
            began = time.monotonic()
            request("POST", API + SERVINGS, serving(f"r{n}"))
            until("a pod", lambda: first.at)
            times.append(first.at - began)
        delete(f"r{n}")
    yield "resource applied to pod created, median and most of 5", f"{statistics.median(times):.3f} s, {max(times):.3f} s"


def eject():
    def listed(engine):
        engines = request("GET", f"{ROUTER}/v1/engines")["data"]
        return any(one["id"] == engine and not one["draining"] for one in engines)

    for how, query in {"deleted": "", "deleted by force": "?gracePeriodSeconds=0"}.items():
        times = []
        request("POST", API + SERVINGS, serving("eject", scaling={"mode": "Manual", "min": 2}))
        for _ in range(5):
            until("two engines", lambda: len(pods("eject")) == 2 and all(listed(f"default/{pod}") for pod in pods("eject")))
            victim, pod = sorted(pods("eject").items())[0]
            uid = pod["metadata"]["uid"]
            began = time.monotonic()
            request("DELETE", f"{API}{PODS}/{victim}{query}")
            until("no calls there", lambda: not listed(f"default/{victim}"))
            times.append(time.monotonic() - began)
            until("its end", lambda: uid not in [one["metadata"]["uid"] for one in pods("eject").values()])
        delete("eject")
        yield f"pod {how} to no new calls there, median and most of 5", f"{statistics.median(times):.3f} s, {max(times):.3f} s"


def zero():
    added, whole = [], []
    for n in range(5):
        name = f"z{n}"
        request("POST", API + SERVINGS, serving(name, scaling={"min": 0, "max": 1}))
        until("Ready", lambda: is_ready(name))
        ready = {}

        def follow():
            pod = until("an address", lambda: next((one["status"].get("podIP") for one in pods(name).values()), None))
            until("the engine", lambda: answers(f"http://{pod}:8001/readyz"))
            ready["at"] = time.monotonic()

        def answers(url):
            try:
                return bool(request("GET", url))
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        with FirstPod() as first:
            follower = threading.Thread(target=follow)
            follower.start()
            began = time.monotonic()
            request("POST", f"{ROUTER}/v1/completions", {"model": name, "prompt": "x", "max_tokens": 1})
            ended = time.monotonic()
            follower.join()
            # The answer may be there before the look at the engine that was to come before it.
            added.append((first.at - began) + max(0.0, ended - ready["at"]))
            whole.append(ended - began)
        delete(name)
    yield "wake from zero: added to the pod's own start, median and most of 5", f"{statistics.median(added):.3f} s, {max(added):.3f} s"
    yield "wake from zero: call to answer, median", f"{statistics.median(whole):.3f} s"


def writes():
    """Writes of our objects at the API server, all callers, Leases left out."""
    ours = {"llmprogramservings", "services", "serviceaccounts", "poddisruptionbudgets", "networkpolicies", "events"}
    count = 0
    for line in request("GET", f"{API}/metrics").splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(part.split("=", 1) for part in line[line.index("{") + 1:line.index("}")].replace('"', "").split(","))
            if labels["verb"] in {"APPLY", "PATCH", "POST", "PUT", "DELETE"} and (
                    labels["resource"] in ours or labels["resource"] == "pods" and not labels["subresource"]):
                count += float(line.rsplit(" ", 1)[1])
    return int(count)


def idle():
    for n in range(3):
        request("POST", API + SERVINGS, serving(f"idle{n}"))
    until("Ready", lambda: all(is_ready(f"idle{n}") for n in range(3)))
    time.sleep(15)  # what was to be told of the start is told
    before = writes()
    time.sleep(60)
    yield "writes at the API server in 60 s with 3 idle resources", str(writes() - before)
    for n in range(3):
        delete(f"idle{n}")


def figures(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
    ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return resident, (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def pid_of(program):
    [pid] = subprocess.run(["pgrep", "-x", program], capture_output=True, text=True, check=True).stdout.split()
    return int(pid)


def many(resources=200, engines=10):
    """No node takes the pods; their states are written as a kubelet and a router would."""
    nowhere = {"pod": {"nodeSelector": {"nowhere": "true"}}, "startTimeout": "2h"}
    manual = {"mode": "Manual", "min": engines, "max": engines}
    began = time.monotonic()
    for n in range(resources):
        request("POST", API + SERVINGS, serving(f"many{n}", engine=nowhere, scaling=manual))
    total = resources * engines

    def all_pods():
        return request("GET", f"{API}{PODS}?labelSelector=app.kubernetes.io%2Fname%3Dlps-engine")["items"]

    until("all pods", lambda: len(all_pods()) == total, limit_s=900, pause_s=2)
    yield f"{resources} resources applied to {total} pods created", f"{time.monotonic() - began:.0f} s"
    ready = {"phase": "Running", "conditions": [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"} for kind in
        ("PodScheduled", "Initialized", "ContainersReady", "llmprogram.dev/admitted", "Ready")]}
    for pod in all_pods():
        request("PATCH", f"{API}{PODS}/{pod['metadata']['name']}/status", {"status": ready}, "application/merge-patch+json")
    until("all Ready", lambda: sum(
        one.get("status", {}).get("readyReplicas", 0) for one in request("GET", API + SERVINGS)["items"]) == total,
        limit_s=600, pause_s=2)
    time.sleep(30)
    for program in ("lps-operator", "lps-router"):
        pid = pid_of(program)
        _, before = figures(pid)
        time.sleep(60)
        resident, after = figures(pid)
        yield f"{program} at rest with {total} pods", f"{resident:.0f} MiB, {(after - before) / 60:.3f} cores"
    pid = pid_of("lps-operator")
    command = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    os.kill(pid, signal.SIGTERM)
    until("its end", lambda: not pathlib.Path(f"/proc/{pid}/exe").exists())
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as again:
        until("a round of each", lambda: rounds() >= resources, limit_s=300, pause_s=0.1)
        yield f"an operator that begins anew has looked at all {resources} resources after", f"{time.monotonic() - began:.1f} s"
        again.terminate()


def rounds():
    """Rounds that the operator has made."""
    try:
        lines = request("GET", "http://127.0.0.1:8082/metrics").splitlines()
    except (urllib.error.URLError, ConnectionError):
        return 0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("lps_operator_rounds_total{"))


def inner(parts):
    for part in parts:
        for what, value in globals()[part]():
            print(f"| {what} | {value} |", flush=True)


def outer(parts):
    from cluster import BIN, HERE, IMAGE, Cluster

    with Cluster("-measure") as cluster, tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        cluster.define()
        cluster.load_image(BIN / "lps-engine", folder / "engine.tar")
        with (cluster.started(folder / "proxy", "kubectl", "proxy", "--port=8901"),
              cluster.started(folder / "operator", BIN / "lps-operator", "run", "--engine-image", IMAGE),
              cluster.started(folder / "router", BIN / "lps-router", "--kubernetes", "--host", "0.0.0.0")):
            time.sleep(3)
            command = [HERE / "kin", sys.executable, HERE / "measure.py", "--inner", parts]
            subprocess.run(command, check=True, env=cluster.env)


if __name__ == "__main__":
    chosen = sys.argv[-1] if len(sys.argv) > 1 and not sys.argv[-1].startswith("-") else "reconcile,eject,zero,idle,many"
    if "--inner" in sys.argv:
        inner(chosen.split(","))
    else:
        outer(chosen)
