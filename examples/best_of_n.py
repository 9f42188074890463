"""A search: several plans drawn side by side, the one that the model is surest of is kept, and its first step is done.

Run it beside `make run`: pip install ./clients/python && python examples/best_of_n.py
"""

import asyncio
import re
from statistics import mean

from lps_client import AsyncOpenAI

TASK = "a picnic"
CANDIDATES = 4
client = AsyncOpenAI()


async def draw(seed: int) -> tuple[float, str]:
    """A plan, and the mean log-probability of its tokens."""
    answer = await client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": f"Plan {TASK} in three steps."}],
        temperature=1.2,
        seed=seed,
        max_tokens=60,
        logprobs=True,
    )
    choice = answer.choices[0]
    tokens = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
    return mean(token.logprob for token in tokens), choice.message.content or ""


async def search() -> None:
    """The search as one program: the last call depends on all that were drawn."""
    async with client.program("best-of-n") as program:
        drawn = await asyncio.gather(*(draw(seed) for seed in range(CANDIDATES)))
        for score, plan in sorted(drawn, reverse=True):
            print(f"{score:7.3f} {plan!r}")
        _, best = max(drawn)
        step = re.sub(r"^\d+\.\s*", "", best.splitlines()[0])
        done = await client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": f"Task: {TASK}. Step: {step}. Do this step."}],
            temperature=0,
            max_tokens=60,
        )
    print(done.choices[0].message.content)
    row = await program.stats()
    print(f"the last call depends on {len(row.calls[-1].parents or [])} others")


asyncio.run(search())
