"""Map and reduce: a plan, its steps side by side in threads, and a summary that waits for all of them.

Run it beside `make run`: pip install ./clients/python && python examples/map_reduce.py
"""

import re

from lps_client import OpenAI, ThreadPoolExecutor

TASK = "a hiking trip"
client = OpenAI()


def ask(content: str) -> str:
    """One call."""
    answer = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=160
    )
    return answer.choices[0].message.content or ""


def do(step: str) -> str:
    """One step of the plan."""
    return ask(f"Task: {TASK}. Step: {step}. Do this step.")


with client.program("map-reduce") as program:
    steps = re.findall(r"^\d+\. (.+)$", ask(f"Plan {TASK} in three steps."), re.MULTILINE)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(do, steps))
    lines = "".join(f"\n- {result}" for result in results)
    print(ask(f"Summarise the results for {TASK}:{lines}"))

row = program.stats()
for call in row.calls:
    print(f"{call.id} depends on {', '.join(call.parents or []) or 'nothing'}")
print(f"service {row.service_total_us} µs, its longest path {row.critical_path_us} µs")
