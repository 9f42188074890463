"""`make cluster`: from nothing to an answer on an address of this machine, and back to nothing."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import urllib.request

import pytest

from cluster import BIN, ROOT, wait_for

NAME = os.environ.get("LPS_CLUSTER_NAME", "test") + "-demo"
CALL = {"model": "demo", "messages": [{"role": "user", "content": "What is a program?"}]}


def free_port():
    """One that no connection is given before the script listens."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def shell(*command):
    return subprocess.run([ROOT / "scripts" / "cluster-shell.sh", *command], capture_output=True, text=True,
                          env=dict(os.environ, LPS_CLUSTER_NAME=NAME))


# The second: a router whose own pod is not in the namespace that it serves may still find and label it.
@pytest.fixture(params=[pytest.param("", marks=pytest.mark.long), "--set scope=namespaced,watchNamespace=default"],
                ids=["cluster", "namespaced"])
def started(request, tmp_path):
    """The script, its log, and the port that it serves on."""
    port = free_port()
    environment = dict(os.environ, LPS_CLUSTER_NAME=NAME, LPS_IMAGES_BIN=str(BIN), LPS_IMAGES_OUT=str(tmp_path / "images"),
                       PORT=str(port), HELM_ARGS=request.param)
    with open(tmp_path / "log", "wb") as log:
        # Whoever runs the tests in the background may have SIGINT ignored, which is inherited; a terminal has not.
        process = subprocess.Popen([ROOT / "scripts" / "cluster.sh"], env=environment, stdout=log, stderr=log,
                                   start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    yield process, tmp_path / "log", port
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    print((tmp_path / "log").read_text())
    for image in (tmp_path / "images").glob("*.tar"):
        image.unlink()


def test_it_answers_here_and_leaves_nothing(started):
    process, log, port = started
    wait_for("an address", lambda: process.poll() is not None or "ready: http" in log.read_text())
    assert process.poll() is None, "it ended before it was ready"
    wait_for("the port", lambda: listens(port))
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(CALL).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert "program" in json.load(answer)["choices"][0]["message"]["content"].lower()

    done = shell("helm", "test", "lps", "--namespace", "lps-system", "--logs")
    assert done.returncode == 0 and "demo" in done.stdout, done

    # What the release made goes with it; resources and their engines stay, free of an operator that is gone.
    done = shell("helm", "uninstall", "lps", "--namespace", "lps-system")
    assert done.returncode == 0, done.stderr
    [resource] = json.loads(shell("kubectl", "get", "lps", "-o", "json").stdout)["items"]
    assert "finalizers" not in resource["metadata"]
    assert len(shell("kubectl", "get", "pods", "-o", "name").stdout.split()) == 2
    kinds = "deployments,services,serviceaccounts,jobs,roles,rolebindings,clusterroles,clusterrolebindings,netpol,pdb"
    assert not shell("kubectl", "get", kinds, "-A", "-l", "app.kubernetes.io/instance=lps", "-o", "name").stdout
    assert shell("kubectl", "delete", "lps", "--all", "--timeout=20s").returncode == 0

    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
    process.wait(60)
    assert "gone" in log.read_text().splitlines()[-1]
    assert not listens(port)
    again = shell("true")
    assert again.returncode == 1 and "make cluster" in again.stderr


def test_what_it_cannot_begin_is_refused_before_anything_is_built(tmp_path):
    script = ROOT / "scripts" / "cluster.sh"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([script], env=dict(os.environ, LPS_CLUSTER_NAME=NAME, PORT=port), capture_output=True, text=True)
    assert done.returncode == 1 and f"port {port} is taken" in done.stderr and not done.stdout
    done = subprocess.run([script, tmp_path / "none.yaml"], capture_output=True, text=True)
    assert done.returncode == 1 and "no file" in done.stderr and not done.stdout
