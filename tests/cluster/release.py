"""The chart's release in a cluster. Owns: where its parts are found."""

import json

SYSTEM = "lps-system"


class Release:
    """A cluster with the chart in it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.system = lambda *arguments, **options: cluster.kubectl("-n", SYSTEM, *arguments, **options)

    def address(self):
        spec = json.loads(self.system("get", "service", "lps-router", "-o", "json").stdout)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def active(self):
        """The router that works, or None."""
        done = self.system("get", "pods", "-l", "llmprogram.dev/active=true", "-o", "name")
        names = done.stdout.split()
        return names[0].removeprefix("pod/") if len(names) == 1 else None

    def signal(self, signal, program, word):
        """A signal for the one process of this name that has the word in its command line or environment."""
        pids = [pid for pid in self.cluster.inside("pgrep", "-x", program).stdout.split() if word in self.proc(pid)]
        assert len(pids) == 1, (program, word, pids)
        self.cluster.inside("kill", f"-{signal}", pids[0])

    def proc(self, pid):
        return self.cluster.inside("cat", f"/proc/{pid}/cmdline", f"/proc/{pid}/environ").stdout.split("\0")
