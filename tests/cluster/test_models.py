"""Where models come from, with the real demo model: the hub, an image, a claim, a folder of the node; what stays on the
node; and what a user is told when the model does not come.

How long each took from its apply is printed; `pytest -s` shows it.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from cluster import HERE, ROOT, resource, wait_for
from hub import commit_of
from release import SYSTEM

DEMO = ROOT / "engine" / "models" / "demo"
PORT, TOKEN = 8099, "hf_of_a_test"
HUB = f"http://10.99.0.1:{PORT}"


class Hub:
    """The hub as a process of the node, and what it was asked for."""

    def __init__(self, log):
        self.log = log

    def asked(self, repo):
        """Its answers about a repository: status, path, and whether a token came."""
        lines = [line.split() for line in self.log.read_text().splitlines()[1:]]
        return [line for line in lines if f"/{repo}/" in line[1]]

    def pid(self):
        return self.log.read_text().split("\n")[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints that everybody may read: the demo model, the same cut off, and one without weights."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in ("demo", "cut", "weightless"):
        shutil.copytree(DEMO, root / name)
    weights = root / "cut" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    (root / "weightless" / "model.safetensors").unlink()
    for one in [root, *root.rglob("*")]:
        one.chmod(0o755 if one.is_dir() else 0o644)
    return root


@pytest.fixture(scope="module")
def upgrade(release):
    """Gives the release other values; it is installed where another test has removed it."""

    def upgrade(**values):
        sets = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        release.cluster.inside("helm", "upgrade", "--install", "lps", ROOT / "charts" / "lps", "-n", SYSTEM, "--wait",
                               "--timeout", "3m", *sets)
        wait_for("a router that works", release.active)

    return upgrade


@pytest.fixture(scope="module")
def hub(release, upgrade, folders, tmp_path_factory):
    log = tmp_path_factory.mktemp("hub") / "log"
    demo, repositories = folders / "demo", ["o/demo@main", "o/moved@v1", "o/gated@main", "o/kept@main"]
    served = [f"{one}={demo}" for one in repositories] + [f"o/moved@main={folders / 'weightless'}"]
    program = [sys.executable, HERE / "hub.py", "--port", PORT, "--token", TOKEN, *served]
    with release.cluster.started(log, *program):
        wait_for("the hub", lambda: release.cluster.inside("curl", "-s", HUB, check=False).returncode == 0)
        upgrade(hubEndpoint=HUB)
        yield Hub(log)


@pytest.fixture(scope="module")
def cluster(release, hub):
    for name, token in (("right", TOKEN), ("wrong", "hf_of_nobody")):
        release.cluster.kubectl("create", "secret", "generic", name, f"--from-literal=token={token}")
    return release.cluster


@pytest.fixture
def open_namespace(cluster):
    """Volumes of the node's folders are against the restricted and the baseline level."""
    cluster.kubectl("label", "--overwrite", "namespace", "default", "pod-security.kubernetes.io/enforce=privileged")
    yield
    cluster.kubectl("label", "--overwrite", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")


def hub_source(repo, **fields):
    return {"huggingFace": {"repo": repo, **fields}}


def secret(name, key="token"):
    return {"name": name, "key": key}


def of(source):
    # As `builtin: demo` is: then its answers are the same.
    return resource("model", model={"name": "model", "source": source, "dtype": "float32"})


def answers(release, what, source):
    """Applies it, waits until it is ready, and asks it through the router."""
    began = time.monotonic()
    release.cluster.apply(of(source))
    release.cluster.wait_ready("model")
    print(f"\n{what}: ready {time.monotonic() - began:.1f} s after its apply")
    ask(release)


def ask(release):
    body = {"model": "model", "messages": [{"role": "user", "content": "What is a program?"}]}
    done = release.cluster.inside("curl", "-sS", f"{release.address()}/v1/chat/completions", "-H",
                                  "content-type: application/json", "-d", json.dumps(body)).stdout
    answer = json.loads(done)
    assert "choices" in answer, answer
    assert "program" in answer["choices"][0]["message"]["content"].lower()


def told(cluster, what, source, reason, words):
    """Applies it and waits for the reason; the condition's message has the words."""
    began = time.monotonic()
    cluster.apply(of(source))
    one = wait_for(f"{what}: {reason}", lambda: ready_by(cluster, reason))
    print(f"\n{what}: {reason} {time.monotonic() - began:.1f} s after its apply: {one['message']}")
    for word in words:
        assert word in one["message"], word
    return one


def ready_by(cluster, reason):
    one = cluster.condition("model", "Ready")
    return one if one and one["reason"] == reason else None


def gone(cluster):
    cluster.kubectl("delete", "lps", "model", "--timeout=60s")
    wait_for("no engine", lambda: not cluster.engines("model"))


# ---- the hub

@pytest.mark.parametrize(
    "what,source",
    [
        ("a branch", hub_source("o/demo")),
        ("a commit", hub_source("o/moved", revision=commit_of("o/moved", "v1"))),
        ("with a token", hub_source("o/gated", tokenSecret=secret("right"))),
    ],
)
def test_a_model_of_the_hub_is_pulled_and_answers(release, cluster, hub, what, source):
    answers(release, what, source)
    asked = hub.asked(source["huggingFace"]["repo"])
    gone(cluster)
    pinned = source["huggingFace"].get("revision", "main")
    assert [path for _, path, _ in asked if "/revision/" in path] == [
        f"/api/models/{source['huggingFace']['repo']}/revision/{pinned}"]
    assert {who for _, _, who in asked} == {"token" if "tokenSecret" in source["huggingFace"] else "nobody"}


@pytest.mark.parametrize(
    "what,source,words",
    [
        ("an unknown repository", hub_source("o/nothing"), ["o/nothing does not exist, or needs a token"]),
        ("an unknown one, asked for by somebody", hub_source("o/nothing", tokenSecret=secret("right")),
         [f"o/nothing does not exist at {HUB}"]),
        ("a wrong token", hub_source("o/gated", tokenSecret=secret("wrong")), ["o/gated", "the token is wrong or expired"]),
        ("no token", hub_source("o/gated"), ["o/gated is gated: accept its terms"]),
        ("an unknown revision", hub_source("o/demo", revision="v9"), ["revision v9 of o/demo does not exist"]),
        ("no weights", hub_source("o/moved"), ["o/moved", "no *.safetensors at its root"]),
        ("no Secret", hub_source("o/gated", tokenSecret=secret("nothing")), ['secret "nothing" not found']),
        ("no such key in it", hub_source("o/gated", tokenSecret=secret("right", "x")), ["couldn't find key x in Secret"]),
    ],
)
def test_why_a_model_of_the_hub_does_not_come(cluster, what, source, words):
    told(cluster, what, source, "ModelUnavailable", ["0 of 1 engines serve; engine model-", *words])
    resolved = cluster.condition("model", "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", "ModelUnavailable")
    gone(cluster)


# ---- an image

def test_a_model_in_an_image_is_copied_and_answers(release, cluster, tmp_path):
    """The image has the checkpoint and nothing else: no shell, no C library."""
    subprocess.run([ROOT / "images" / "oci.py", "--out", tmp_path, "--version", "test", "--model", DEMO, "model"], check=True)
    cluster.inside("ctr", "-n", "k8s.io", "images", "import", tmp_path / "lps-model.tar")
    answers(release, "an image", {"image": {"reference": "localhost/lps-model:test"}})
    gone(cluster)


@pytest.mark.parametrize(
    "what,reference,words",
    [
        ("an image that nobody has", "localhost/nothing:1", ["its model cannot be fetched", "localhost/nothing:1"]),
        ("an image without a model", "localhost/lps-router:{version}", ["no config.json in model, models"]),
    ],
)
def test_why_a_model_in_an_image_does_not_come(release, cluster, what, reference, words):
    image = json.loads(release.system("get", "deployment", "lps-router", "-o", "json").stdout)
    version = image["spec"]["template"]["spec"]["containers"][0]["image"].rsplit(":")[-1]
    told(cluster, what, {"image": {"reference": reference.format(version=version)}}, "ModelUnavailable", words)
    gone(cluster)


# ---- a claim

@pytest.fixture(scope="module")
def claim(cluster, folders):
    """A claim on a volume that has the checkpoints."""
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "storageClassName": "",
            "hostPath": {"path": str(folders), "type": "Directory"}}
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "checkpoints"}, "spec": spec})
    spec = {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": "checkpoints",
            "resources": {"requests": {"storage": "1Gi"}}}
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "checkpoints"}, "spec": spec})
    yield "checkpoints"
    cluster.kubectl("delete", "pvc", "checkpoints")
    cluster.kubectl("delete", "pv", "checkpoints")


def test_a_model_in_a_claim_answers(release, cluster, claim):
    answers(release, "a claim", {"pvc": {"claim": claim, "path": "demo"}})
    gone(cluster)


@pytest.mark.parametrize(
    "what,name,path,reason,words",
    [
        ("a claim that is not there", "nothing", "demo", "ModelUnavailable", ['persistentvolumeclaim "nothing" not found']),
        ("a folder that is not in it", "checkpoints", "nothing", "CrashLoop", ["lps-engine: ", "/model/nothing"]),
    ],
)
def test_why_a_model_in_a_claim_is_not_served(cluster, claim, what, name, path, reason, words):
    told(cluster, what, {"pvc": {"claim": name, "path": path}}, reason, words)
    gone(cluster)


# ---- a folder of the node

def test_a_folder_of_the_node_needs_a_namespace_that_lets_it_in(release, cluster, folders):
    told(cluster, "a folder, restricted", {"hostPath": {"path": str(folders / "demo")}}, "PodRefused",
         ['violates PodSecurity "restricted', "hostPath"])
    cluster.kubectl("label", "--overwrite", "namespace", "default", "pod-security.kubernetes.io/enforce=privileged")
    try:
        cluster.wait_ready("model")
        ask(release)
    finally:
        cluster.kubectl("label", "--overwrite", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")
    gone(cluster)


@pytest.mark.parametrize(
    "what,folder,reason,words",
    [
        ("a folder that is not there", "nothing", "VolumeMissing", ["hostPath type check failed"]),
        ("a checkpoint that is cut off", "cut", "CrashLoop", ["lps-engine: ", "model.safetensors"]),
        ("a checkpoint without weights", "weightless", "CrashLoop", ["lps-engine: ", "/model.safetensors: cannot be read: there is no such file"]),
    ],
)
@pytest.mark.usefixtures("open_namespace")
def test_why_a_folder_of_the_node_is_not_served(cluster, folders, what, folder, reason, words):
    told(cluster, what, {"hostPath": {"path": str(folders / folder)}}, reason, words)
    gone(cluster)


# ---- built in

def test_a_built_in_model_that_is_unknown_is_refused_at_once(cluster):
    began = time.monotonic()
    refusal = cluster.refusal(of({"builtin": "nothing"}))
    print(f"\nan unknown built-in model: refused after {time.monotonic() - began:.1f} s: {refusal}")
    assert "spec.model.source.builtin" in refusal and '"demo"' in refusal


# ---- what stays on the node

@pytest.mark.long
@pytest.mark.usefixtures("open_namespace")
def test_what_was_pulled_stays_on_the_node(release, cluster, hub, upgrade, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    folder.chmod(0o755)
    upgrade(hubEndpoint=HUB, modelCache=folder)
    told(cluster, "a cache that may not be written to", hub_source("o/kept"), "ModelUnavailable", ["ermission denied"])
    os.chown(folder, 65532, 65532)
    cluster.wait_ready("model")
    ask(release)

    def fetched():
        return [path for _, path, _ in hub.asked("o/kept") if "/resolve/" in path or "/blobs/" in path]

    before, asked = fetched(), len(hub.asked("o/kept"))
    assert len(before) == len(list(DEMO.iterdir())) + 1, "each file once, and one redirect"
    again(release, "a pod with what is on the node")
    assert fetched() == before
    assert len(hub.asked("o/kept")) == asked + 1, "a branch may have moved"
    cluster.inside("kill", hub.pid())
    again(release, "a pod while the hub is away")
    gone(cluster)
    told(cluster, "a hub that is away", hub_source("o/demo"), "ModelUnavailable", ["revision main of o/demo: ", "onnection refused"])
    gone(cluster)


def again(release, what):
    """Another pod for the engine; it is asked."""
    [(name, pod)] = release.cluster.engines("model").items()
    uid, began = pod["metadata"]["uid"], time.monotonic()
    release.cluster.kubectl("delete", "pod", name)

    def another():
        pods = release.cluster.engines("model").values()
        ready = {"type": "Ready", "status": "True"}.items()
        return any(pod["metadata"]["uid"] != uid and any(
            ready <= one.items() for one in pod["status"].get("conditions", []))
                   for pod in pods)

    wait_for("another pod", another)
    release.cluster.wait_ready("model")
    print(f"\n{what}: ready {time.monotonic() - began:.1f} s after the other's end")
    ask(release)
