"""Calls that a router holds because its model has no engine: sent one after the other, answered later.

    held.py --url URL --admin URL --model M --programs A,B,… --tokens N --over N

Sends a call of each program in the given order, the next one only when the router counts this one as waiting; then
`over` calls more, for which there is no room. Prints one JSON object a call, `over` ones first, the others as they end.
"""

import argparse
import asyncio
import json
import time
import urllib.request

import openai


def waiting(options):
    text = urllib.request.urlopen(f"{options.admin}/metrics", timeout=30).read().decode()
    lines = [line for line in text.splitlines() if line.startswith("lps_router_waiting_calls") and f'"{options.model}"' in line]
    return int(float(lines[0].rsplit(" ", 1)[1])) if lines else 0


async def call(client, options, program, number):
    seen = {"program": program, "arrived": number, "ok": False, "error": None}
    try:
        stream = await client.completions.create(
            model=options.model, prompt=str(number), max_tokens=options.tokens, stream=True,
            extra_headers={"x-program-id": program})
        async for _ in stream:
            seen.setdefault("first", time.monotonic())
        seen["ok"] = True
    except openai.APIStatusError as error:
        seen["error"] = {"status": error.status_code, "code": error.code, "retry_after": error.response.headers.get("retry-after")}
    except openai.APIError as error:
        seen["error"] = str(error)
    print(json.dumps(seen | {"ended": time.monotonic()}), flush=True)


async def main():
    parser = argparse.ArgumentParser()
    for name in ("url", "admin", "model", "programs"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("tokens", "over"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    client = openai.AsyncOpenAI(base_url=f"{options.url}/v1", api_key="none", max_retries=0, timeout=600)
    calls = []
    for number, program in enumerate(options.programs.split(",")):
        calls.append(asyncio.create_task(call(client, options, program, number)))
        while await asyncio.to_thread(waiting, options) <= number:
            pass
    await asyncio.gather(*(call(client, options, "over", -1) for _ in range(options.over)))
    await asyncio.gather(*calls)


asyncio.run(main())
