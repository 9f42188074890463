"""`lps up` as a user meets it: what is wrong is said in one line and leaves nothing running."""

import json
import signal
import socket
import subprocess

import pytest
from stack import BIN, ROOT, Stack, free_port, manifest, wait_for


def up(file, *arguments, timeout=60):
    """Runs `lps up` to its end; (exit code, standard error)."""
    done = subprocess.run(
        [BIN / "lps", "up", file, "--admin-port", str(free_port()), *(arguments or ("--port", str(free_port())))],
        capture_output=True, text=True, timeout=timeout, cwd=ROOT,
    )
    return done.returncode, done.stderr


def write(folder, resource):
    file = folder / "manifest.json"
    file.write_text(json.dumps(resource))
    return file


@pytest.mark.parametrize(
    "text,words",
    [
        ("apiVersion: v1\nkind: Pod\n", ["manifest.yaml", "LLMProgramServing"]),
        ("apiVersion: llmprogram.dev/v1alpha1\nkind: LLMProgramServing\nmetadata: {name: a}\nspec:\n  model:\n"
         "    name: a\n    source: {builtin: demo}\n  scaling: {min: many}\n", ["manifest.yaml:8", "spec.scaling.min"]),
        ("apiVersion: llmprogram.dev/v1alpha1\nkind: LLMProgramServing\nmetadata: {name: a}\nspec:\n  model:\n"
         "    name: a\n    source: {builtin: demo}\n  scalling: {min: 1}\n", ["manifest.yaml:8", "scalling"]),
        ("apiVersion: llmprogram.dev/v1alpha1\nkind: LLMProgramServing\nmetadata: {name: a}\nspec:\n  model:\n"
         "    name: a\n    source: {builtin: demo}\n  scaling: {min: 3, max: 1}\n", ["manifest.yaml", "spec.scaling"]),
    ],
    ids=["another kind", "wrong type", "unknown field", "min above max"],
)
def test_manifest_errors_name_file_line_and_field(tmp_path, text, words):
    file = tmp_path / "manifest.yaml"
    file.write_text(text)
    code, error = up(file)
    assert code != 0
    for word in words:
        assert word in error


def test_a_port_in_use_is_said_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, error = up(write(tmp_path, manifest()), "--port", str(port))
    assert code != 0
    assert str(port) in error and "in use" in error


def test_a_missing_checkpoint_is_one_clear_line(tmp_path):
    resource = manifest()
    resource["spec"]["model"]["source"] = {"hostPath": {"path": str(tmp_path / "nothing")}}
    code, error = up(write(tmp_path, resource))
    assert code != 0
    assert str(tmp_path / "nothing") in error.strip().splitlines()[-1]


def test_a_truncated_checkpoint_names_the_file(tmp_path):
    model = tmp_path / "model"
    subprocess.run([BIN / "lps", "model", "make", "--family", "qwen3", "--size", "tiny", model], check=True)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    resource = manifest()
    resource["spec"]["model"]["source"] = {"hostPath": {"path": str(model)}}
    code, error = up(write(tmp_path, resource))
    assert code != 0
    assert "model.safetensors" in error.strip().splitlines()[-1]


def test_too_little_memory_says_the_numbers(tmp_path):
    code, error = up(write(tmp_path, manifest(kvCache={"size": "1Mi"})))
    assert code != 0
    assert "kv" in error.strip().splitlines()[-1].lower()


def test_ctrl_c_drains_and_leaves_nothing(tmp_path):
    stack = Stack(tmp_path, manifest(builtin="sim", engines=2))
    with stack:
        assert len(stack.engine_pids()) == 2
        assert stack.end(signal.SIGINT) == 0


def test_engines_do_not_outlive_a_killed_parent(tmp_path):
    stack = Stack(tmp_path, manifest(builtin="sim", engines=2))
    with stack:
        stack.end(signal.SIGKILL)


def test_a_dead_engine_is_replaced(tmp_path):
    with Stack(tmp_path, manifest(builtin="sim", engines=2)) as stack:
        victim = stack.engine_pids()[0]
        subprocess.run(["kill", "-KILL", str(victim)], check=True)
        wait_for("a new engine", lambda: len(stack.engine_pids()) == 2 and victim not in stack.engine_pids())
        wait_for("it to serve", lambda: len(stack.engines()) == 2)
