"""A control group of the kernel: processor time and memory for the processes in it. It needs root, and one of both
versions with the controllers `cpu` and `memory`.

Owns: making it, its limits, and taking it away. Knows nothing of what runs in it.
"""

import contextlib
import pathlib

from stack import wait_for

ROOT = pathlib.Path("/sys/fs/cgroup")
PERIOD_US = 100_000


class ControlGroup:
    """So many processors' time and so many bytes; a context manager. `enter` puts the calling process into it."""

    def __init__(self, name, *, cpus, memory_bytes):
        quota_us = int(cpus * PERIOD_US)
        controllers = ROOT / "cgroup.controllers"
        if controllers.exists() and {"cpu", "memory"} <= set(controllers.read_text().split()):
            (ROOT / "cgroup.subtree_control").write_text("+cpu +memory")
            folder = ROOT / name
            self.limits = {folder / "cpu.max": f"{quota_us} {PERIOD_US}", folder / "memory.max": memory_bytes,
                           folder / "memory.swap.max": 0}
            self.peak_file, self.events_file = folder / "memory.peak", folder / "memory.events"
        else:
            memory, cpu = ROOT / "memory" / name, ROOT / "cpu" / name
            self.limits = {cpu / "cpu.cfs_period_us": PERIOD_US, cpu / "cpu.cfs_quota_us": quota_us,
                           memory / "memory.limit_in_bytes": memory_bytes}
            self.peak_file, self.events_file = memory / "memory.max_usage_in_bytes", memory / "memory.oom_control"
        self.folders = sorted({limit.parent for limit in self.limits})

    def __enter__(self):
        for folder in self.folders:
            folder.mkdir()
        for limit, value in self.limits.items():
            limit.write_text(str(value))
        return self

    def __exit__(self, *_):
        wait_for("the control group to be empty", self._removed, 20)

    def _removed(self):
        for folder in self.folders:
            with contextlib.suppress(FileNotFoundError, OSError):
                folder.rmdir()
        return not any(folder.exists() for folder in self.folders)

    def enter(self):
        for folder in self.folders:
            (folder / "cgroup.procs").write_text("0")

    def peak_bytes(self):
        """The most that it had, page cache included."""
        return int(self.peak_file.read_text())

    def kills(self):
        """How often the kernel ended a process for want of memory."""
        lines = dict(line.split() for line in self.events_file.read_text().splitlines())
        return int(lines["oom_kill"])
