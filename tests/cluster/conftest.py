"""Fixtures: one cluster for the whole run, with an operator and a router as processes of its node."""

import pytest

from cluster import BIN, IMAGE, ROUTER, Cluster, wait_for


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
