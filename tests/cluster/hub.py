#!/usr/bin/env python3
"""A hub of models that speaks as Hugging Face's does, over folders of this machine.

    hub.py --port P --token T OWNER/NAME@REVISION=FOLDER...

A repository named `gated` gives its files only to who has the token. The commit of a revision is the SHA-1 of
OWNER/NAME@REVISION. Its first line is its process id; then each request is a line: status, path, and whether it brought a
token. What goes wrong on the way (cuts, wrong bytes, 429) is cli/tests/pull.rs's to show.
"""

import argparse
import functools
import hashlib
import http.server
import json
import os
import pathlib
import re


def commit_of(repo, revision):
    return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()


@functools.cache
def entry(file):
    """A file as the listing tells it: of weights the SHA-256, of others the name of their git blob."""
    data = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    told = {"type": "file", "path": file.name, "size": len(data), "oid": blob}
    if file.suffix == ".safetensors":
        told["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return told


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folders, revisions, token = {}, {}, ""

    def do_GET(self):
        if match := re.fullmatch(r"/blobs/([^/]+/[^/]+)/(\w+)/([^/]+)", self.path):
            return self.file(*match.groups())
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+)/(revision|tree|resolve)/([^/]+)(?:/([^/]+))?", self.path)
        repo, what, revision, name = match.groups() if match else (None,) * 4
        if (refused := self.refusal(repo)) is not None:
            return self.answer(*refused)
        commit = self.revisions.get((repo, revision), revision)
        folder = self.folders.get((repo, commit))
        if folder is None:
            return self.answer(404, b"", {"x-error-code": "RevisionNotFound"})
        if what == "revision":
            return self.answer(200, json.dumps({"sha": commit}).encode())
        if what == "tree":
            return self.answer(200, json.dumps([entry(file) for file in sorted(folder.iterdir())]).encode())
        if "lfs" in entry(folder / name):
            return self.answer(302, b"", {"location": f"/blobs/{repo}/{commit}/{name}"})
        return self.file(repo, commit, name)

    def refusal(self, repo):
        """As the real one: who is nobody is not told what there is."""
        said = self.headers.get("authorization")
        if said not in (None, f"Bearer {self.token}"):
            return 401, b'{"error": "Invalid credentials in Authorization header"}', {}
        if not any(repo == known for known, _ in self.folders):
            return 404 if said else 401, b"", {"x-error-code": "RepoNotFound"}
        if repo.endswith("/gated") and not said:
            return 401, b"", {"x-error-code": "GatedRepo"}
        return None

    def file(self, repo, commit, name):
        data = (self.folders[repo, commit] / name).read_bytes()
        begin = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", "bytes=0-"))[1])
        part = {"content-range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        return self.answer(206 if begin else 200, data[begin:], part)

    def answer(self, status, body, headers=None):
        token = "token" if self.headers.get("authorization") else "nobody"
        os.write(1, f"{status} {self.path} {token}\n".encode())  # in one piece: several threads write
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("repositories", nargs="+")
    options = parser.parse_args()
    Hub.token = options.token
    for one in options.repositories:
        repo, revision, folder = re.fullmatch("(.+)@(.+)=(.+)", one).groups()
        commit = commit_of(repo, revision)
        Hub.revisions[repo, revision] = commit
        Hub.folders[repo, commit] = pathlib.Path(folder)
    print(os.getpid(), flush=True)
    http.server.ThreadingHTTPServer(("0.0.0.0", options.port), Hub).serve_forever()


if __name__ == "__main__":
    main()
