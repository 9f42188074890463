"""TLS at the router's port, and certificates on both sides between router and engines: who is let in, and files that change
while streams run."""

import os
import signal
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

import lps_client
import openai
import pytest
from certificates import ENGINE, Authority, Mounted, expires, serial
from cryptography import x509
from engine import Engine
from router import Router
from stack import BIN, Stack, free_port, manifest, wait_for

HERE = "127.0.0.1"
SIM = ["--model-name", "demo", "--sim-step-us", "10000", "--sim-output-tokens", "0"]
LONG = {"model": "demo", "prompt": "x", "max_tokens": 300, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def stranger():
    return Authority("stranger")


def engine(folder, mounted=None):
    """A simulated engine, with certificates where there are some."""
    tls = ["--tls-cert", mounted.cert, "--tls-key", mounted.key, "--tls-client-ca", mounted.ca] if mounted else []
    return Engine(folder, *SIM, *tls, model="builtin:sim", scheme="https" if mounted else "http")


def to_engines(mounted):
    """Flags of a router that shows these certificates to engines."""
    return ["--engine-tls-ca", mounted.ca, "--engine-tls-cert", mounted.cert, "--engine-tls-key", mounted.key]


def client(router, context, kind=openai.OpenAI):
    """The official client, unchanged, or one made of it, which believes whom the context does."""
    http = openai.DefaultHttpxClient(verify=context)
    return kind(base_url=f"{router.url}/v1", api_key="none", max_retries=0, timeout=120, http_client=http)


def greet(url, context):
    """The certificate that a new connection is shown, once a request went over it."""
    port = urlsplit(url).port
    with socket.create_connection((HERE, port), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname=HERE if context.check_hostname else None) as inside:
            inside.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = b""
            while part := inside.recv(4096):
                answer += part
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert inside.version() in ("TLSv1.2", "TLSv1.3")
            return x509.load_der_x509_certificate(inside.getpeercert(binary_form=True)).serial_number


def is_refused(url, context):
    try:
        greet(url, context)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def said_in_plain(url):
    """What somebody is told who speaks plain HTTP, to the connection's end."""
    with socket.create_connection((HERE, urlsplit(url).port), timeout=30) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = b""
        while part := plain.recv(4096):
            answer += part
        return answer


@pytest.fixture()
def secured(tmp_path, authority):
    """A router that speaks TLS, before an engine that does not, and its certificates."""
    mounted = Mounted(tmp_path / "secret", authority.issue(HERE))
    with engine(tmp_path / "engine") as only:
        arguments = ["--tls-cert", mounted.cert, "--tls-key", mounted.key]
        with Router(tmp_path, [only], *arguments, context=mounted.believing()) as router:
            yield router, mounted


def test_the_official_client_speaks_tls(secured, tmp_path, stranger):
    router, mounted = secured
    ours = client(router, mounted.believing())
    assert [model.id for model in ours.models.list()] == ["demo"]
    assert len(list(ours.completions.create(stream=True, **LONG))) > 1
    other = Mounted(tmp_path / "other", stranger.issue(HERE))
    with pytest.raises(openai.APIConnectionError):
        client(router, other.believing()).models.list()
    assert b"HTTP" not in said_in_plain(router.url)


def test_our_client_opens_and_ends_programs_over_tls(secured):
    router, mounted = secured
    ours = client(router, mounted.believing(), lps_client.OpenAI)
    with ours.program("secured") as program:
        for _ in range(2):
            ours.completions.create(**{**LONG, "max_tokens": 2})
    assert program.stats().state == "ended"
    row = router.program(program.id)
    assert [call["state"] for call in row["calls"]] == ["completed", "completed"]
    assert row["calls"][1]["parents"] == [row["calls"][0]["id"]]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_versions_that_are_no_longer_safe_are_refused(secured):
    router, mounted = secured
    old = mounted.believing()
    # OpenSSL itself speaks them at its lowest level only.
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((HERE, router.port), timeout=30) as plain:
        with pytest.raises(ssl.SSLError) as caught:
            old.wrap_socket(plain, server_hostname=HERE)
    # It is the router that refuses: an alert is what the other side says.
    assert "_ALERT_" in caught.value.reason
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = mounted.believing()
        context.minimum_version = context.maximum_version = version
        assert greet(router.url, context) == serial({"tls.crt": mounted.cert.read_bytes()})


def test_who_stalls_in_the_handshake_keeps_nobody_out_and_is_let_go(secured):
    router, mounted = secured
    # One says nothing; the other says that a first message of 512 bytes comes, and no more.
    silent, broken = (socket.create_connection((HERE, router.port), timeout=120) for _ in range(2))
    with silent, broken:
        broken.sendall(bytes([22, 3, 1, 2, 0, 1]))
        assert greet(router.url, mounted.believing())
        for stalled in (silent, broken):
            assert stalled.recv(1) == b""


def test_the_tool_speaks_tls(secured):
    router, mounted = secured
    environment = {name: value for name, value in os.environ.items() if name not in ("LPS_CA", "SSL_CERT_FILE")}

    def told(*words, **more):
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, env={**environment, **more})
        return done.returncode, done.stdout + done.stderr

    ask = [BIN / "lps", "engines", "--url", router.url]
    for code, text in [told(*ask, "--ca", mounted.ca), told(*ask, SSL_CERT_FILE=str(mounted.ca))]:
        assert code == 0 and "demo" in text, text
    code, text = told(*ask)
    assert code == 1 and "--ca FILE" in text, text
    code, text = told(BIN / "lps-router", "check", "--url", router.url, "--ca", mounted.ca)
    assert code == 0 and "so does demo" in text, text


def test_one_command_serves_over_tls(tmp_path, authority):
    mounted = Mounted(tmp_path / "secret", authority.issue(HERE))
    stack = Stack(tmp_path, manifest(builtin="sim"), arguments=["--tls-cert", mounted.cert, "--tls-key", mounted.key])
    stack.context = mounted.believing()
    with stack:
        wait_for("the greeting", lambda: f"Serving demo on {stack.url}/v1" in stack.output())
        assert stack.post("/v1/completions", {"model": "demo", "prompt": "x", "max_tokens": 1})[0] == 200


def test_a_certificate_changes_while_a_stream_runs(secured, authority):
    router, mounted = secured
    context = mounted.believing()
    stream = iter(client(router, context).completions.create(stream=True, **LONG))
    next(stream)
    renewed = authority.issue(HERE, days=3)
    mounted.write(renewed)
    wait_for("the new certificate", lambda: greet(router.url, context) == serial(renewed))
    assert list(stream)[-1].choices[0].finish_reason == "length"
    assert router.metric("lps_router_certificate_expires_timestamp_seconds") == expires(renewed)

    # What makes no sense changes nothing.
    mounted.write({**renewed, "tls.key": authority.issue(HERE)["tls.key"]})
    wait_for("the router to say so", lambda: "it is not the key of the certificate in" in router.output())
    assert router.metric("lps_router_certificate_valid") == 0
    assert greet(router.url, context) == serial(renewed)
    mounted.write(renewed)
    wait_for("the files to make sense", lambda: router.metric("lps_router_certificate_valid") == 1)


@pytest.mark.parametrize("wrong, says", [
    ({"tls.crt": None}, "tls.crt: No such file"),
    ({"tls.crt": b"x"}, "tls.crt: it holds no certificate in PEM"),
    ({"tls.key": b"x"}, "tls.key: it holds no private key in PEM"),
    ({"tls.key": "another's"}, "tls.key: it is not the key of the certificate in"),
    ("expired", "tls.crt: its certificate expired at"),
])
def test_files_that_make_no_sense_are_named_at_the_start(tmp_path, authority, wrong, says):
    entries = authority.issue(HERE, days=-1) if wrong == "expired" else {**authority.issue(HERE), **wrong}
    if entries["tls.key"] == "another's":
        entries["tls.key"] = authority.issue(HERE)["tls.key"]
    mounted = Mounted(tmp_path, {name: content for name, content in entries.items() if content})
    engine_of_nobody = f"demo=http://{HERE}:1"
    ended = subprocess.run(
        [BIN / "lps-router", "--engine", engine_of_nobody, "--port", str(free_port()), "--admin-port", str(free_port()),
         "--tls-cert", mounted.cert, "--tls-key", mounted.key], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and says in ended.stdout + ended.stderr, ended


def test_an_engine_takes_calls_of_routers_only(tmp_path, authority, stranger):
    mounted = Mounted(tmp_path / "engine-secret", authority.issue(ENGINE))
    own = Mounted(tmp_path / "router-secret", authority.issue("router"))
    other = Mounted(tmp_path / "other", {**stranger.issue("router"), "ca.crt": authority.pem})
    with engine(tmp_path / "engine", mounted) as only:
        # An engine's certificate is of one name, whatever its address.
        contexts = [own.showing(), own.believing(), other.showing()]
        for context in contexts:
            context.check_hostname = False
        known, silent, strange = contexts
        assert greet(only.url, known) == serial({"tls.crt": mounted.cert.read_bytes()})
        assert is_refused(only.url, silent) and is_refused(only.url, strange)
        assert b"HTTP" not in said_in_plain(only.url)

        with Router(tmp_path, [only], *to_engines(own)) as router:
            ours = client(router, True)
            stream = iter(ours.completions.create(stream=True, **LONG))
            next(stream)
            # Both sides' certificates are renewed under it.
            renewed = authority.issue(ENGINE)
            mounted.write(renewed)
            own.write(authority.issue("router"))
            wait_for("the new certificate", lambda: greet(only.url, known) == serial(renewed))
            assert list(stream)[-1].choices[0].finish_reason == "length"
            assert ours.completions.create(**LONG).usage.completion_tokens == 300
            assert router.post("/v1/programs/none/cancel", {})[0] == 404
            assert router.post("/tokenize", {"model": "demo", "prompt": "x"})[0] == 200


@pytest.mark.parametrize("which, says", [
    ("another name", "not valid for name"),
    ("another authority", "UnknownIssuer"),
])
def test_a_router_speaks_to_its_engines_only(tmp_path, authority, stranger, which, says):
    entries = authority.issue("localhost") if which == "another name" else stranger.issue(ENGINE)
    mounted = Mounted(tmp_path / "engine-secret", {**entries, "ca.crt": authority.pem})
    own = Mounted(tmp_path / "router-secret", authority.issue("router"))
    with engine(tmp_path / "engine", mounted) as only:
        router = Router(tmp_path, [only], *to_engines(own), "--log-level", "debug")
        router.start()
        try:
            wait_for("the router to say why", lambda: says in router.output())
        finally:
            router.__exit__()


def test_a_stream_outlives_its_engine_over_tls(tmp_path, authority):
    mounted = Mounted(tmp_path / "engine-secret", authority.issue(ENGINE))
    own = Mounted(tmp_path / "router-secret", authority.issue("router"))
    with engine(tmp_path / "a", mounted) as first, engine(tmp_path / "b", mounted) as second:
        with Router(tmp_path, [first, second], *to_engines(own)) as router:
            ours = client(router, True)
            stream = ours.completions.with_raw_response.create(stream=True, **LONG)
            lost = [first, second][int(stream.headers["x-engine"].removeprefix("engine-")) - 1]
            parts = iter(stream.parse())
            next(parts)
            os.kill(lost.process.pid, signal.SIGKILL)
            assert list(parts)[-1].choices[0].finish_reason == "length"
            assert router.metric("lps_router_resumed_total") == 1
            # Its fixture wants it to end well.
            lost.process.wait()
            lost.launch()
            wait_for("the engine to be back", lost._ready)
