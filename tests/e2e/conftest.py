"""Fixtures: one stack of two libtorch engines that most tests share, and a client for it."""

import openai
import pytest

from stack import Stack, manifest


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; not part of `make test`")


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Two engines with the built-in demo model."""
    with Stack(tmp_path_factory.mktemp("demo"), manifest(engines=2)) as stack:
        yield stack


@pytest.fixture()
def client(demo):
    """The official client, unchanged, pointed at the shared stack; no retries, so that a test sees each answer."""
    return openai.OpenAI(base_url=f"{demo.url}/v1", api_key="none", max_retries=0, timeout=120)
