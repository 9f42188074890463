"""Fixtures: one cluster for the whole run, with an operator and a router as processes of its node, and another one with
the chart's release."""

import os
import subprocess

import pytest

from cluster import BIN, IMAGE, ROOT, ROUTER, Cluster, wait_for
from release import SYSTEM, Release


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; not part of `make test`")
    config.addinivalue_line("markers", "release: needs the cluster with the chart's release in it")


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items):
    for item in items:
        if "release" in item.fixturenames:
            item.add_marker("release")


@pytest.fixture(scope="session")
def cluster():
    with Cluster() as running:
        running.define()
        yield running


@pytest.fixture(scope="session")
def operator(cluster, tmp_path_factory):
    """An operator as a process of the node, with the engine's image at hand."""
    folder = tmp_path_factory.mktemp("operator")
    cluster.load_image(BIN / "lps-engine", folder / "engine.tar")
    with cluster.started(folder / "log", BIN / "lps-operator", "run", "--engine-image", IMAGE) as process:
        yield process


@pytest.fixture(scope="session")
def router(cluster, tmp_path_factory):
    """A router as a process of the node; its address is `Cluster.ROUTER`."""
    folder = tmp_path_factory.mktemp("router")
    with cluster.started(folder / "log", BIN / "lps-router", "--kubernetes", "--host", "0.0.0.0") as process:
        wait_for("the router", lambda: cluster.inside("curl", "-fs", f"{ROUTER}/v1/models", check=False).returncode == 0)
        yield process


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """The chart, installed from images of our programs, under restricted pod security."""
    folder = tmp_path_factory.mktemp("images")
    environment = dict(os.environ, LPS_IMAGES_BIN=str(BIN), LPS_IMAGES_OUT=str(folder))
    subprocess.run([ROOT / "scripts" / "images.sh"], check=True, env=environment, stdout=subprocess.DEVNULL)
    with Cluster("-release") as cluster:
        for archive in sorted(folder.glob("*.tar")):
            cluster.inside("ctr", "-n", "k8s.io", "images", "import", archive)
            archive.unlink()
        cluster.kubectl("create", "namespace", SYSTEM)
        for namespace in (SYSTEM, "default"):
            cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        cluster.inside("helm", "install", "lps", ROOT / "charts" / "lps", "-n", SYSTEM, "--wait", "--timeout", "2m")
        running = Release(cluster)
        wait_for("a router that works", running.active)
        yield running
        for one in ("operator", "router"):
            print(running.system("logs", f"deploy/lps-{one}", "--all-pods", "--prefix", "--tail=200", check=False).stdout)
