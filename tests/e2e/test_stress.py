"""Calls that are cancelled, displaced, reordered and left at random, beside each other on few pages: what comes of each is
what comes of it alone, no page is lost, and memory stays.

The seed is printed; LPS_STRESS_SEED repeats one. `-m long` plays a thousand calls instead of two hundred.
"""

import asyncio
import collections
import json
import os
import random
import statistics

import pytest
from engine import Engine
from stack import wait_for
from stress import Player, make_ask, make_call

BATCH = 32
# A sequence may have 24 pages, and a full batch wants about 200 of these.
LIMITS = ["--max-num-seqs", str(BATCH), "--max-model-len", "384"]
PAGES = 112
PAGE_NUMBERS = 6 * 2 * 3 * 32 * 16  # of the demo model: layers, keys and values, heads, numbers of a head, tokens
# Flags, and bytes of a number in a page.
TYPES = {"float32": (["--dtype", "float32"], 4), "bfloat16": (["--dtype", "bfloat16"], 2),
         "int8": (["--dtype", "bfloat16", "--quantization", "int8"], 2)}
# The first calls fill what is bounded. Afterwards the heap moves both ways, by up to 7 MiB from one hundred calls to the
# next, as answers are longer or shorter; so the last three hundreds count, and 8 MiB over 700 calls is 12 KiB a call. What
# is less is seen by `test_soak.py`, which makes 14,000.
WARM = 300
GROWTH_BYTES_MAX = 8 << 20
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}  # glibc's per-thread arenas fragment at their own pace


def seed():
    return int(os.environ.get("LPS_STRESS_SEED") or random.randrange(1 << 32))


async def answers_alone(engine, asks, source):
    """Each ask, some with a stop text that comes in its answer; and the answer of the engine when it has nothing else to do."""
    player = Player(engine.url)
    expected = []
    for index, ask in enumerate(asks):
        answer = await player.alone(ask)
        text = answer[0].text
        if source.random() < 0.4 and len(text) > 8:
            at = source.randrange(len(text) // 2, len(text) - 2)
            stop = text[at:at + source.randint(1, 5)]
            asks[index] = ask.stopped_at(stop)
            stopped = await player.alone(asks[index])
            for number, choice in stopped.items():
                whole = answer[number].text
                assert choice.text == whole.partition(stop)[0], (stop, choice.text, whole)
                assert choice.finish == ("stop" if stop in whole else answer[number].finish)
            answer = stopped
        expected.append(answer)
    return expected


def begins(part, whole):
    """Whether what one choice said is a beginning of what it says alone."""
    return (whole.text.startswith(part.text) and whole.tokens[:len(part.tokens)] == part.tokens
            and whole.logprobs[:len(part.logprobs)] == part.logprobs)


def check(call, ask, expected):
    what = f"{call.name}, {call.end}, {ask}:"
    if call.end == "whole":
        assert call.choices == expected, f"{what}\n{call.choices}\nalone:\n{expected}"
    for index, choice in call.choices.items():
        assert begins(choice, expected[index]), f"{what}\n{choice}\ndoes not begin\n{expected[index]}"


def check_idle(engine):
    """Nothing runs, nothing waits, and every page is free or cached, by the metrics and by the event stream."""
    wait_for("the engine to be idle", lambda: engine.metric("vllm:num_requests_running") == 0
             and engine.metric("vllm:num_requests_waiting") == 0)
    free, cached = engine.metric("lps_engine_kv_blocks_free"), engine.metric("lps_engine_kv_blocks_cached")
    assert free + cached == PAGES
    assert engine.metric("vllm:kv_cache_usage_perc") == 0
    lines = engine.events("heartbeat", "kv")
    assert lines["hello"][0]["kv_blocks_total"] == PAGES
    load = lines["heartbeat"][0]
    assert (load["running"], load["waiting"], load["kv_blocks_free"], load["kv_blocks_cached"]) == (0, 0, free, cached)
    assert not any(line["calls"] for line in lines.get("progress", []))
    assert sum(len(line["stored"]) for line in lines["kv"]) == cached


def stress(folder, calls, asks, types, preemption):
    """Plays so many calls of so many asks; resident bytes after each hundred."""
    number = seed()
    print(f"LPS_STRESS_SEED={number}")
    source = random.Random(number)
    asks = [make_ask(source) for _ in range(asks)]
    flags, number_bytes = TYPES[types]
    with Engine(folder / "alone", *flags, "--max-model-len", "384", "--max-num-seqs", "8", "--kv-cache-size", "32Mi",
                "--no-prefix-cache") as alone:
        expected = asyncio.run(answers_alone(alone, asks, source))
    steps = folder / "steps.jsonl"
    with Engine(folder / "beside", *flags, *LIMITS, "--kv-cache-size", str(PAGES * PAGE_NUMBERS * number_bytes),
                "--preemption", preemption, "--step-log", steps, environment=ONE_ARENA) as engine:
        played = [make_call(source, index, len(asks)) for index in range(calls)]
        resident = []

        async def play():
            player = Player(engine.url, number)
            for first in range(0, calls, 100):
                await player.play(played[first:first + 100], asks)
                resident.append(engine.memory()["VmRSS"])

        asyncio.run(play())
        for call in played:
            check(call, asks[call.ask], expected[call.ask])
        check_idle(engine)
        ends = collections.Counter(call.end for call in played)
        preemptions = engine.metric("lps_engine_preemptions_total")
        print(f"ends {dict(ends)}, {preemptions:.0f} preemptions, {engine.metric('lps_engine_steps_total'):.0f} steps, "
              f"resident after each 100 calls, MiB: {[f'{bytes / 2**20:.1f}' for bytes in resident]}")
        # How many of each hangs on the machine; that there are some is what makes this a test.
        assert min(ends["whole"], ends["left"], ends["cancelled"], preemptions) > 0, ends
    sizes = [len(json.loads(line)["sequences"]) for line in steps.read_text().splitlines()[1:]]
    print(f"sequences in a step: {sum(sizes) / len(sizes):.1f} on average, {sizes.count(BATCH)} of {len(sizes)} steps were full")
    assert max(sizes) == BATCH
    return resident


@pytest.mark.parametrize("types,preemption", [("float32", "keep"), ("bfloat16", "recompute")])
def test_what_happens_to_others_changes_no_answer(tmp_path, types, preemption):
    stress(tmp_path, 200, 60, types, preemption)


@pytest.mark.long
@pytest.mark.parametrize("preemption", ["keep", "recompute"])
@pytest.mark.parametrize("types", TYPES)
def test_a_thousand_calls_leave_nothing_behind(tmp_path, types, preemption):
    resident = stress(tmp_path, 1000, 250, types, preemption)
    warm = WARM // 100
    assert statistics.median(resident[-3:]) <= max(resident[:warm]) + GROWTH_BYTES_MAX
