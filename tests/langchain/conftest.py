"""The stack of the end-to-end tests, for LangChain's model. LangChain stands in an environment of its own, because its
tests bring plugins of pytest that would change how every other test runs."""

import pytest
from stack import Stack, manifest


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Engines with the built-in demo model, under two names."""
    with Stack(tmp_path_factory.mktemp("demo"), manifest("demo"), manifest("second")) as stack:
        yield stack
