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

    def kill(self, pattern):
        """SIGKILL for the one process inside whose command line has the pattern."""
        pids = self.cluster.inside("pgrep", "-f", pattern).stdout.split()
        assert len(pids) == 1, (pattern, pids)
        self.cluster.inside("kill", "-KILL", pids[0])
