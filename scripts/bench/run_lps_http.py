"""The engine as clients reach it, over HTTP and SSE, as an arm of `make bench-engine`; the contract stands in runner.py.

What a step takes more than in `bench_engine` is what HTTP, text, scheduling and this client cost together.
"""
import json
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runner import SETTLED, now, serve

START_LIMIT_S = 120
IDS = re.compile(rb'"token_ids":\[([^\]]*)\]')


class Stream:
    """One streamed call; counts tokens as they come."""

    def __init__(self, address, body):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = json.dumps(body).encode()
        self.socket.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\n"
                            b"content-length: %d\r\n\r\n" % len(body) + body)
        self.drawn, self.rest, self.head = 0, b"", True

    def fileno(self):
        return self.socket.fileno()

    def read(self):
        got = self.socket.recv(1 << 16)
        if self.head and b" 200 " not in got.split(b"\r\n", 1)[0]:
            raise ConnectionError(got.decode(errors="replace")[-200:])
        if not got:
            raise ConnectionError("the stream ended early")
        self.head = False
        *lines, self.rest = (self.rest + got).split(b"\n")
        for ids in IDS.findall(b"\n".join(lines)):
            self.drawn += ids.count(b",") + 1 if ids else 0


class Http:
    def __init__(self, job):
        self.job = job
        self.folder = tempfile.TemporaryDirectory(prefix="lps-bench-")
        said = Path(self.folder.name) / "addresses"
        dtype = ["--dtype", "bfloat16", "--quantization", "int8"] if job["dtype"] == "int8" else ["--dtype", job["dtype"]]
        self.engine = subprocess.Popen(
            [sys.argv[1], "--model", job["model"], "--model-name", "bench", "--port", "0", "--address-file", said, *dtype,
             "--threads", str(job["threads"]), "--max-model-len", str(job["max_model_len"]), "--no-prefix-cache",
             "--max-num-seqs", str(job["max_num_seqs"]), "--kv-cache-size", str(job["kv_bytes"]), "--exit-with-parent"])
        deadline = now() + START_LIMIT_S
        while not said.exists():
            if self.engine.poll() is not None or now() > deadline:
                raise RuntimeError(f"the engine does not start, or ended with {self.engine.returncode}")
            time.sleep(0.01)
        host, port = said.read_text().splitlines()[0].rsplit(":", 1)
        self.address = (host, int(port))
        self.versions = "lps-engine over HTTP"

    def run(self, prompts, steps):
        limit = 1 if steps == 0 else None
        start = now()
        # A word each time: what random weights say may be parts of characters, which are held back until they are whole.
        streams = [Stream(self.address, {
            "model": "bench", "prompt": prompt, "temperature": 0, "ignore_eos": True, "stream": True, "return_token_ids": True,
            "logit_bias": {prompt[0]: 100}, "max_tokens": limit or self.job["max_model_len"] - len(prompt),
        }) for prompt in prompts]

        def until(least):
            while min(stream.drawn for stream in streams) < least:
                for stream in select.select(streams, [], [])[0]:
                    stream.read()

        try:
            until(1)
            first = now() - start
            if steps == 0:
                return first, 0.0, 0
            until(SETTLED)
            drawn = [stream.drawn for stream in streams]
            start = now()
            until(min(drawn) + steps)
            return first, now() - start, sum(stream.drawn for stream in streams) - sum(drawn)
        finally:
            # A connection that is closed cancels its call.
            for stream in streams:
                stream.socket.close()


if __name__ == "__main__":
    serve(Http)
