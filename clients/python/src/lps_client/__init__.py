"""The OpenAI client, whose calls know which LLM program they belong to.

    from lps_client import OpenAI

    client = OpenAI()
    with client.program("report") as program:
        ...  # calls of the client, in sequence or in parallel
    print(program.stats())

Modules in the order in which a call passes them: `client` → `lineage`; beside it `program` and `executor`.
"""

from .client import AsyncOpenAI, OpenAI, program
from .executor import ThreadPoolExecutor
from .lineage import Thread, branch, join
from .program import AsyncProgram, CallStats, Program, Stats

__all__ = [
    "AsyncOpenAI",
    "AsyncProgram",
    "CallStats",
    "OpenAI",
    "Program",
    "Stats",
    "Thread",
    "ThreadPoolExecutor",
    "branch",
    "join",
    "program",
]
