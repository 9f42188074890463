"""Fixtures: one stack of two libtorch engines that most tests share, a client for it, and a server of another kind."""

import http.server
import threading

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


class NothingHere(http.server.BaseHTTPRequestHandler):
    """A server that has no path of ours."""

    def do_POST(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture()
def no_router():
    """The address of a server that answers, and is no router."""
    with http.server.HTTPServer(("127.0.0.1", 0), NothingHere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
