"""A real one-node Kubernetes in namespaces of its own, with our resource known to it.

Owns: starting and ending it, and speaking to it with its own tools. Knows nothing of what a test wants from it.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = pathlib.Path(os.environ["LPS_TEST_BIN"])
IMAGE = "localhost/lps-engine:test"
ROUTER = "http://10.99.0.1:8080"
WAIT_S_MAX = 120.0


def wait_for(what, condition, timeout_s=WAIT_S_MAX):
    """Polls until `condition()` is true and returns its value; fails with `what` after the bound."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.1)
    return value


def resource(name, spec=None, **sections):
    """An `LLMProgramServing` of the simulated model with one engine, and other sections where given."""
    spec = spec or {"model": {"name": name, "source": {"builtin": "sim"}}, **sections}
    return {"apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "metadata": {"name": name}, "spec": spec}


class Cluster:
    """Use as a context; nothing of it is left afterwards."""

    def __init__(self, suffix=""):
        self.env = dict(os.environ, LPS_CLUSTER_NAME=os.environ.get("LPS_CLUSTER_NAME", "test") + suffix)

    def __enter__(self):
        self.script("down.sh", stdout=subprocess.DEVNULL)
        self.script("prep.sh")
        self.script("up.sh")
        return self

    def __exit__(self, *_):
        self.script("down.sh", stdout=subprocess.DEVNULL)

    def script(self, name, **options):
        subprocess.run([HERE / name], check=True, env=self.env, **options)

    def file(self, name):
        """A file that the cluster's own programs write."""
        folder = subprocess.run(["bash", "-c", '. "$0"; echo "$T/$NAME"', HERE / "env.sh"], capture_output=True,
                                text=True, check=True, env=self.env).stdout.strip()
        return pathlib.Path(folder) / name

    def define(self):
        """Makes our resource known."""
        self.kubectl("apply", "--server-side", "-f", ROOT / "crds" / "llmprogramservings.yaml")
        self.kubectl("wait", "--for=condition=Established", "crd/llmprogramservings.llmprogram.dev", "--timeout=30s")

    def inside(self, *command, text=None, check=True):
        """Runs a command inside."""
        done = subprocess.run([HERE / "kin", *map(str, command)], input=text, capture_output=True, text=True,
                              env=self.env)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stderr}")
        return done

    def kubectl(self, *arguments, text=None, check=True):
        return self.inside("kubectl", *arguments, text=text, check=check)

    @contextlib.contextmanager
    def started(self, log, program, *arguments):
        """A program of ours inside, as a process of the node; its log is shown after its end."""
        with open(log, "wb") as file:
            process = subprocess.Popen([HERE / "kin", program, *map(str, arguments)], stdout=file, stderr=file,
                                       env=self.env)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
            print(log.read_text())

    def load_image(self, program, archive):
        subprocess.run([HERE / "pack.sh", archive, IMAGE, program], check=True)
        self.inside("ctr", "-n", "k8s.io", "images", "import", archive)

    def apply(self, body, *flags, check=True):
        return self.kubectl("apply", *flags, "-f", "-", text=json.dumps(body), check=check)

    def refusal(self, body):
        """What the API server says against a resource."""
        done = self.apply(body, "--dry-run=server", check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def get(self, kind, name):
        """The object, or None."""
        done = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def engines(self, name):
        """The engines' pods by name."""
        done = self.kubectl("get", "pods", "-l", f"llmprogram.dev/serving={name}", "-o", "json")
        return {pod["metadata"]["name"]: pod for pod in json.loads(done.stdout)["items"]}

    def condition(self, name, kind):
        """A condition of a resource, or None."""
        body = self.get("lps", name) or {}
        conditions = body.get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), None)

    def wait_ready(self, name, reason="EnginesReady"):
        def ready():
            body, one = self.get("lps", name), self.condition(name, "Ready")
            if one and one["reason"] == reason and one["observedGeneration"] == body["metadata"]["generation"]:
                return not self.condition(name, "Reconciling")
            return False

        wait_for(f"{name}: Ready by {reason}", ready)
