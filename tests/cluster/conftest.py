"""Fixtures: one cluster for the whole run, and an operator in it."""

import pytest

from cluster import BIN, IMAGE, Cluster


@pytest.fixture(scope="session")
def cluster():
    with Cluster() as running:
        yield running


@pytest.fixture(scope="session")
def operator(cluster, tmp_path_factory):
    """An operator as a process of the node, with the engine's image at hand."""
    folder = tmp_path_factory.mktemp("operator")
    cluster.load_image(BIN / "lps-engine", folder / "engine.tar")
    with open(folder / "log", "wb") as log:
        process = cluster.start(BIN / "lps-operator", "run", "--engine-image", IMAGE, log=log)
        yield process
        process.terminate()
        process.wait(30)
    print((folder / "log").read_text())
