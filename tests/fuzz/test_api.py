"""schemathesis asks what the router's own document says, and what it does not say: `GET /openapi.json` of a running stack.

No answer is a 500, none is waited for longer than a bound, and each has a status, a type and a form that the document has;
afterwards nothing runs, waits or has ended. `LPS_FUZZ_SEED` repeats a run; with `LPS_FUZZ_TIME`, in seconds, each test goes
on for so long (`make fuzz-api`).
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from stack import BIN, Stack, manifest, wait_for

HERE = pathlib.Path(__file__).parent
SEED = os.environ.get("LPS_FUZZ_SEED", "1")
TIME_S = int(os.environ.get("LPS_FUZZ_TIME", "0"))
ANSWER_S_MAX = 60
# One ends engines and the other never ends; what they refuse, the router's own tests ask.
LEFT_OUT = "(/drain|/events)$"
BY_ENGINES = "^/(v1/(chat/completions|completions|messages|responses)|tokenize|detokenize)"


def fuzz(stack, *arguments, examples, environment=None):
    """Runs schemathesis against a stack that it must leave as it was."""
    engines = stack.engine_pids()
    bound = ["--max-time", str(TIME_S)] if TIME_S else ["--max-examples", str(examples)]
    done = subprocess.run(
        [pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml", "--no-color",
         "run", f"{stack.url}/openapi.json", "--mode", "all", "--seed", SEED, *bound, "--generation-database", "none",
         "--request-timeout", str(ANSWER_S_MAX), "--exclude-path-regex", LEFT_OUT, "--continue-on-failure", *arguments],
        cwd=stack.folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "hooks", "FUZZ_MODEL": "demo",
             "FUZZ_URL": stack.url,
             **(environment or {})},
    )
    assert done.returncode == 0, f"LPS_FUZZ_SEED={SEED}\n{done.stdout}{done.stderr}"
    open_calls = ("lps_router_running_calls", "lps_router_waiting_calls")
    wait_for("no call to run or wait", lambda: sum(map(stack.metric, open_calls)) == 0)
    assert stack.engine_pids() == engines, stack.output()


@pytest.fixture()
def keys(tmp_path):
    """A file of keys, and one key for each of three tenants."""
    made = {}
    for tenant, roles in [("ops", "admin"), ("alice", "infer,cancel"), ("bob", "infer,cancel")]:
        told = subprocess.run([BIN / "lps", "key", "new", tenant, "--tenant", tenant, "--roles", roles, "--json"],
                              capture_output=True, text=True, check=True)
        made[tenant] = json.loads(told.stdout)
    file = tmp_path / "keys.yaml"
    file.write_text("keys:\n" + "".join(one["entry"] for one in made.values()))
    return file, {tenant: one["key"] for tenant, one in made.items()}


def test_every_operation_answers_as_the_document_says(tmp_path):
    with Stack(tmp_path, manifest(builtin="sim")) as stack:
        fuzz(stack, examples=30)


def test_a_real_engine_answers_as_the_document_says(tmp_path):
    with Stack(tmp_path, manifest()) as stack:
        fuzz(stack, "--include-path-regex", BY_ENGINES, "--phases", "coverage,fuzzing", examples=20)


def test_no_tenant_sees_what_another_made(tmp_path, keys):
    file, secrets = keys
    with Stack(tmp_path, manifest(builtin="sim"), arguments=["--keys", file], key=secrets["ops"]) as stack:
        fuzz(stack, "--header", f"x-api-key: {secrets['alice']}", "--phases", "fuzzing,stateful", examples=20,
             environment={"FUZZ_OTHER_KEY": secrets["bob"]})
        for tenant, has_some in [("alice", True), ("bob", False)]:
            stack.headers = {"x-api-key": secrets[tenant]}
            assert bool(stack.get("/v1/programs")["data"]) == has_some, tenant
