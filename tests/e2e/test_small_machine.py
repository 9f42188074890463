"""The engine on little: a processor and 2 GiB, a busy neighbour, and what a model of 600 million weights takes of memory.

Long tests (`-m long`): they need root and two processors, make a checkpoint of 1.2 GB once, and print their figures. Of times
they compare only such as were taken in turns.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys

import pytest
from control_group import ControlGroup
from engine import Engine
from stack import BIN, ROOT

pytestmark = pytest.mark.long

SHAPE = "qwen3-0.6b"
WEIGHTS = 28 * (4 * 1024 * 2048 - 2 * 1024 * 1024 + 3 * 1024 * 3072) + 151_936 * 1024  # of products, the tied output layer too
TABLE_BYTES = 151_936 * 1024 * 2  # the embedding, of which rows are read where they stand in the file
PAGE_BYTES = 28 * 2 * 8 * 128 * 16 * 2  # layers, keys and values, heads, numbers of a head, tokens, bytes
# Libtorch, the program, the tokenizer, and what a step computes in.
REST_BYTES = 200_000_000
PROCESSORS = set(sorted(os.sched_getaffinity(0))[:2])
ROUNDS = 5


@pytest.fixture(scope="module")
def checkpoint():
    cache = subprocess.run([ROOT / "scripts" / "cache-dir.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    folder = f"{cache}/models/{SHAPE}"
    if not os.path.exists(folder):
        # Beside it first: one that was cut short is none.
        shutil.rmtree(f"{folder}.partial", ignore_errors=True)
        subprocess.run([BIN / "lps", "model", "make", "--size", SHAPE, f"{folder}.partial"], check=True)
        os.rename(f"{folder}.partial", folder)
    return folder


def forget(checkpoint):
    """Drops the weights from the page cache, so that who reads them is charged for it."""
    with open(f"{checkpoint}/model.safetensors") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def computing_threads(engine):
    """The one that steps, and those that help it."""
    tasks = f"/proc/{engine.process.pid}/task"
    names = [open(f"{tasks}/{task}/comm").read() for task in os.listdir(tasks)]
    return 1 + sum(name.startswith("kernels-") for name in names)


def complete(engine, prompt, **fields):
    body = {"model": SHAPE, "prompt": prompt, "max_tokens": 1, "temperature": 0, "ignore_eos": True, **fields}
    return engine.post("/v1/completions", body)


def use_all_pages(engine):
    """Fills the pool with prompts of their own."""
    length = 31 * 16 + 1  # full pages, and a token that is computed each time
    for first in range(0, 100_000, 997):
        if engine.metric("lps_engine_kv_blocks_free") < 32:
            return
        complete(engine, [(first + place) % 150_000 for place in range(length)])
    raise AssertionError("pages stay free")


def mib(number):
    return f"{number / 2**20:.0f} MiB"


def check_resident(engine, weight_bytes, what):
    """At most 15 % above weights, pages and the rest; without what is only mapped, for the system may take that back."""
    use_all_pages(engine)
    pages = engine.events("hello")["hello"][0]["kv_blocks_total"]
    memory = engine.memory()
    allowed = weight_bytes + pages * PAGE_BYTES + REST_BYTES
    print(f"{what}: weights {mib(weight_bytes)}, {pages} KV pages {mib(pages * PAGE_BYTES)}, resident {mib(memory['VmRSS'])} "
          f"(own {mib(memory['RssAnon'])}, files {mib(memory['RssFile'])}), most {mib(memory['VmHWM'])}, "
          f"{memory['VmRSS'] / allowed:.2f} of weights + KV + 200 MB")
    assert memory["VmRSS"] <= 1.15 * allowed


@pytest.mark.parametrize("flags,weight_bytes", [([], WEIGHTS * 2), (["--quantization", "int8"], WEIGHTS + TABLE_BYTES)])
def test_resident_memory_is_weights_and_pages(tmp_path, checkpoint, flags, weight_bytes):
    with Engine(tmp_path, "--max-model-len", "1024", "--kv-cache-size", "512Mi", *flags, model=checkpoint) as engine:
        check_resident(engine, weight_bytes, " ".join(flags) or "bfloat16")


@pytest.mark.parametrize("cpus,gib", [(1, 2), (2, 4)])
def test_threads_and_pages_follow_the_control_group(tmp_path, checkpoint, cpus, gib):
    forget(checkpoint)
    with ControlGroup("lps-small", cpus=cpus, memory_bytes=gib << 30) as group:
        with Engine(tmp_path, "--max-model-len", "1024", model=checkpoint, before=group.enter) as engine:
            threads = computing_threads(engine)
            pages = engine.events("hello")["hello"][0]["kv_blocks_total"]
            answer = complete(engine, "A program is", max_tokens=16)
            assert answer["usage"]["completion_tokens"] == 16
            print(f"{cpus} CPU, {gib} GiB: {threads} threads compute, {pages} KV pages, {mib(pages * PAGE_BYTES)}")
            check_resident(engine, WEIGHTS * 2, f"{cpus} CPU, {gib} GiB")
            print(f"the group's most {mib(group.peak_bytes())}, ended for want of memory: {group.kills()}")
            assert threads == cpus
            # 0.3 of what weights leave, of which libtorch and the program take some.
            left = (gib << 30) - WEIGHTS * 2
            assert 0.15 * left < pages * PAGE_BYTES < 0.3 * left
            assert group.kills() == 0


@pytest.mark.parametrize("gib,flags,words", [
    (2, [], ["KV cache", r"hold \d+ pages of 1.8 MiB", "needs 2560", "--max-model-len"]),
    (1, ["--max-model-len", "1024"], ["weights", r"they take 1\.\d GiB, and [\d.]+ MiB are free", "--quantization"]),
    (1, ["--max-model-len", "1024", "--kv-cache-size", "1Gi", "--quantization", "int8"],
     ["KV cache", r"1\.0 GiB are asked for, and [\d.]+ MiB are free"]),
])
def test_a_start_that_cannot_fit_says_the_numbers(tmp_path, checkpoint, gib, flags, words):
    with ControlGroup("lps-small", cpus=1, memory_bytes=gib << 30) as group:
        engine = Engine(tmp_path, *flags, model=checkpoint, before=group.enter)
        engine.launch()
        assert engine.process.wait(120) == 1, engine.output()
        print(f"{gib} GiB {flags}: {engine.output().splitlines()[-1]}")
        for word in ["lps-engine: too little memory for the ", *words]:
            assert re.search(word, engine.output()), word
        assert group.kills() == 0


def decoded_per_s(engine, sequences, tokens):
    """Tokens over the time of the steps that they took part in, the prompt's included."""
    answer = complete(engine, [7], n=sequences, max_tokens=tokens)
    return sequences * tokens / answer["lps"]["executor_us"] * 1e6


@pytest.mark.parametrize("sequences,tokens", [(1, 48), (8, 24)])
def test_a_busy_neighbour_costs_its_share(tmp_path, checkpoint, sequences, tokens):
    before = lambda: os.sched_setaffinity(0, PROCESSORS)
    with Engine(tmp_path, "--max-model-len", "1024", "--kv-cache-size", "512Mi", model=checkpoint, before=before) as engine:
        decoded_per_s(engine, sequences, tokens)
        kept = []
        for _ in range(ROUNDS):
            alone = decoded_per_s(engine, sequences, tokens)
            neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"],
                                         preexec_fn=lambda: os.sched_setaffinity(0, {max(PROCESSORS)}))
            try:
                beside = decoded_per_s(engine, sequences, tokens)
            finally:
                neighbour.kill()
                neighbour.wait()
            kept.append(beside / alone)
            print(f"{sequences} sequences: {alone:.1f} tokens/s alone, {beside:.1f} beside a busy neighbour, {kept[-1]:.2f}")
        print(f"{sequences} sequences: the median keeps {statistics.median(kept):.2f}")
        assert engine.metric("vllm:num_requests_running") == 0
