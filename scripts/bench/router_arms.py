"""The arms of `make bench-router`: how each router is installed and started. Must not know what is measured.

Each runs with its defaults, but for addresses on this machine alone. nginx, which knows nothing of calls, is the floor.
"""
import contextlib
import dataclasses
import shutil
import subprocess
import tempfile
from pathlib import Path

import arms
import router_servers
import router_work

DIRECT, OURS = "direct", "lps-router"
# Packages of PyPI; each has an environment of its own (requirements-NAME.txt), in which it is called so.
PEERS = {
    "sglang-router": ["-m", "sglang_router.launch_router"],
    "smg": ["-m", "smg.launch_router"],
    "vllm-router": ["-m", "vllm_router.launch_router"],
}
NGINX = "nginx"
# In the order in which they stand in tables.
DEFAULT = [DIRECT, OURS, *PEERS, NGINX]
NGINX_CONF = """daemon off;
pid {folder}/pid;
worker_processes auto;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream engine {{ server {engine}; keepalive 256; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where arms find what they need."""
    cache: Path
    # Folder of our built programs.
    programs: Path


@dataclasses.dataclass(frozen=True)
class Router:
    """A router that answers."""
    server: router_servers.Server
    address: str
    version: str


@contextlib.contextmanager
def running(name, place, engine):
    """One router before the engine, until it is no longer wanted; installs what it needs."""
    if name == DIRECT:
        yield Router(engine, engine.address, "")
        return
    with tempfile.TemporaryDirectory(prefix="lps-bench-") as folder:
        port = router_servers.free_port()
        command, version = launch(name, place, engine, (Path(folder), port))
        with router_servers.Server(command) as server:
            address, probe = f"127.0.0.1:{port}", router_work.body(1_000, stream=False)
            engine.turn("whole")
            router_servers.wait_until(f"{name} to answer", lambda: router_servers.call(address, probe) == 200, server)
            yield Router(server, address, version)


def launch(name, place, engine, own):
    """(command, version)."""
    folder, port = own
    other = str(router_servers.free_port())
    if name == OURS:
        program = place.programs / "lps-router"
        # At its end it would wait for the calls of programs that live on.
        return [program, "--engine", f"{router_work.MODEL}=http://{engine.address}", "--port", str(port),
                "--admin-port", other, "--drain-grace", "0s"], said([program, "--version"])
    if name == NGINX:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program is None:
            raise arms.Unavailable("not installed; Debian, Ubuntu: apt-get install nginx-light   Fedora: dnf install nginx")
        conf = folder / "nginx.conf"
        conf.write_text(NGINX_CONF.format(folder=folder, engine=engine.address, port=port))
        return [program, "-p", folder, "-e", "stderr", "-c", conf], said([program, "-v"])
    python = arms.venv(place.cache, name) / "bin" / "python"
    wanted = (arms.HERE / f"requirements-{name}.txt").read_text().splitlines()
    version = next(line for line in wanted if line.startswith(f"{name}=="))
    return [python, *PEERS[name], "--worker-urls", f"http://{engine.address}", "--host", "127.0.0.1", "--port", str(port),
            "--prometheus-host", "127.0.0.1", "--prometheus-port", other], version


def said(command):
    """What a program says of its version."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip().removeprefix("nginx version: ")
