"""What the Python client knows of forks and joins, on random programs: no router is asked."""

import asyncio
import contextvars
import random

import pytest
from lps_client import ThreadPoolExecutor, branch, join, lineage

SEEDS = range(200)


def make(dice, depth=3):
    """A random program: calls by name, and lists of programs that run side by side."""
    def step():
        if depth == 0 or dice.random() < 0.5:
            return f"c{dice.getrandbits(48)}"
        return [make(dice, depth - 1) for _ in range(dice.randint(1, 3))]

    return [step() for _ in range(dice.randint(0, 4))]


def walk(program, after, parents):
    """The parents of each call, by definition: what was answered last before it. Returns what was answered last."""
    for step in program:
        if isinstance(step, str):
            parents[step] = after
            after = {step}
        else:
            ends = [walk(part, after, parents) for part in step]
            after = set().union(*(end for end in ends if end != after)) or after
    return after


def call(name, parents):
    parents[name] = set(lineage.begin().after)
    lineage.answered(name)


def in_threads(program, pool, parents):
    for step in program:
        if isinstance(step, str):
            call(step, parents)
        else:
            join()
            for part in [pool.submit(in_threads, part, pool, parents) for part in step]:
                part.result()


async def in_tasks(program, parents):
    for step in program:
        if isinstance(step, str):
            await asyncio.sleep(0)
            call(step, parents)
        else:
            join()
            await asyncio.gather(*(in_tasks(part, parents) for part in step))


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_call_depends_on_what_was_answered_last_before_it(kind):
    for seed in SEEDS:
        program = make(random.Random(seed))
        expected, parents = {}, {}
        walk(program, set(), expected)
        with lineage.within(lineage.Thread("program")):
            if kind == "tasks":
                asyncio.run(in_tasks(program, parents))
            else:
                with ThreadPoolExecutor(64) as pool:
                    in_threads(program, pool, parents)
        assert parents == expected, f"seed {seed}: {program}"


def test_forks_are_bounded():
    thread = lineage.Thread("program")
    with lineage.within(thread):
        for number in range(1_000):
            with lineage.branch():
                call(f"c{number}", {})
        assert len(thread._answered) == lineage.PARENTS_MAX
        assert lineage.begin().after == tuple(f"c{number}" for number in range(744, 1_000))


def test_forks_of_forks_end_somewhere():
    def deeper(depth):
        if depth:
            with lineage.branch():
                call(f"c{depth}", {})
                deeper(depth - 1)

    with lineage.within(lineage.Thread("program")):
        deeper(300)
        assert len(lineage.begin().after) == 1


def test_a_branch_outside_of_programs_opens_none():
    def inside():
        with branch():
            return lineage.opened()

    assert contextvars.copy_context().run(inside) is None
