"""A file of API keys, made as its owner would make it: with the user's tool. Knows nothing of what a test wants from it."""

import json
import os
import subprocess

from stack import BIN


def lps(*words, key=None):
    """(exit code, output) of the user's tool."""
    environment = {name: value for name, value in os.environ.items() if name != "LPS_API_KEY"}
    if key:
        environment["LPS_API_KEY"] = key
    done = subprocess.run([BIN / "lps", *map(str, words)], capture_output=True, text=True, timeout=120, env=environment)
    return done.returncode, done.stdout + done.stderr


class Keys:
    """A file of keys, made as its owner would make it."""

    def __init__(self, path):
        self.path = path
        self.secret, self.entry = {}, {}

    def make(self, name, tenant, roles, *more):
        code, told = lps("key", "new", name, "--tenant", tenant, "--roles", roles, *more, "--json")
        assert code == 0, told
        made = json.loads(told)
        self.secret[name], self.entry[name] = made["key"], made["entry"]

    def write(self, *names):
        aside = self.path.with_suffix(".new")
        aside.write_text("keys:\n" + "".join(self.entry[name] for name in names))
        aside.replace(self.path)
