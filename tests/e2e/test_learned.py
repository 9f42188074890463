"""What finished programs taught survives the router: its end, its death, and a file that makes no sense."""

import json
import signal

import pytest
from stack import Stack, manifest, wait_for

METRIC = "lps_router_learned_programs"
SIZES = {"small": (50, 4), "large": (50, 64)}
PROGRAMS = sum(programs for programs, _ in SIZES.values())


def call(stack, program, kind, tokens):
    """One call of a program of a class; the program stays live."""
    body = {"model": "demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True,
            "program": {"id": program, "class": kind}}
    status, answer = stack.post("/v1/completions", body)
    assert status == 200, answer


def teach(stack):
    for kind, (programs, tokens) in SIZES.items():
        for number in range(programs):
            name = f"{kind}-{number}"
            call(stack, name, kind, tokens)
            status, answer = stack.post(f"/v1/programs/{name}/end", {})
            assert status == 200, answer
    # Each class has shown enough for an index of its own.
    wait_for("all programs to be learned from", lambda: stack.metric(METRIC) == PROGRAMS, 20)


def indices(stack, name):
    """The index with which a new program of each class begins. It does not end, so nothing is learned from it."""
    found = {}
    for kind in SIZES:
        program = f"{name}-{kind}"
        call(stack, program, kind, 1)
        found[kind] = stack.program(program)["calls"][0]["p_us"]
    return found


def learned(folder):
    """The file, or nothing where there is none."""
    file = folder / "state" / "router" / "learned.json"
    return json.loads(file.read_text()) if file.exists() else None


def restart(stack):
    stack.launch()
    wait_for("all engines to be ready", stack._ready)


@pytest.mark.parametrize(
    "how,arguments",
    [(signal.SIGTERM, ["--drain-grace", "0s", "--keep-period", "1h"]), (signal.SIGKILL, ["--keep-period", "200ms"])],
    ids=["told to end", "killed"],
)
def test_what_was_learned_is_there_after_a_restart(tmp_path, how, arguments):
    resource = manifest(builtin="sim", scheduling={"policy": "gittins"}, extraArgs=["--sim-step-us", "500"])
    with Stack(tmp_path, resource, arguments=arguments) as stack:
        teach(stack)
        before = indices(stack, "before")
        assert before["small"] < before["large"]
        if how == signal.SIGTERM:
            assert learned(tmp_path) is None, "it is written once an hour here, and at the end"
        else:
            wait_for("the file", lambda: (kept := learned(tmp_path))
                     and kept["models"][0]["learned"]["finished"] == PROGRAMS, 20)
        stack.end(how)
        restart(stack)
        wait_for("the programs of before", lambda: stack.metric(METRIC) == PROGRAMS, 20)
        assert indices(stack, "after") == before


def test_a_damaged_file_is_set_aside_and_nothing_is_lost(tmp_path):
    file = tmp_path / "state" / "router" / "learned.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"version": 1, "models": [{"mod')
    with Stack(tmp_path, manifest(builtin="sim"), arguments=["--drain-grace", "0s"]) as stack:
        aside = file.with_name("learned.aside-1.json")
        assert f"{file}: is damaged" in stack.output() and str(aside) in stack.output()
        assert aside.read_text() == '{"version": 1, "models": [{"mod'
        assert stack.metric(METRIC) == 0
        call(stack, "one", "small", 4)
        assert stack.post("/v1/programs/one/end", {})[0] == 200
        assert stack.end() == 0
        assert learned(tmp_path)["models"][0]["learned"]["finished"] == 1


def test_a_folder_that_takes_nothing_is_said_once(tmp_path):
    # A file stands where the router's folder would be made.
    folder = tmp_path / "state" / "router"
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    arguments = ["--drain-grace", "0s", "--keep-period", "100ms"]
    with Stack(tmp_path, manifest(builtin="sim"), arguments=arguments) as stack:
        said = lambda: stack.output().count("what is learned would be lost")  # noqa: E731
        for number in range(2):
            call(stack, f"p{number}", "small", 4)
            assert stack.post(f"/v1/programs/p{number}/end", {})[0] == 200
            wait_for("the warning", lambda: said() == 1, 20)
        assert stack.end() == 0
        assert said() == 1
