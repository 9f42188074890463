"""Calls of many programs through a router, as its clients make them; prints one JSON object a call.

    load.py --url URL --model M [--programs N] [--calls N] [--tokens N] [--retries N] [--forever FILE] [--prefix P]
            [--end 1]

Each program makes its calls one after the other, streamed, with OpenAI's own client; with --forever it goes on until
FILE is there; with --end it then tells the router that it has ended. Owns: what a client saw of each call. Knows nothing of what happens to the cluster meanwhile.
"""

import argparse
import asyncio
import hashlib
import json
import os
import time

import openai


async def call(client, options, program, number):
    seen = {"program": program, "number": number, "sent": time.monotonic(), "engine": None, "ok": False, "error": None}
    text = []
    try:
        raw = await client.completions.with_raw_response.create(
            model=options.model, prompt=f"{program} {number}", max_tokens=options.tokens, temperature=0, stream=True,
            extra_headers={"x-program-id": program})
        seen["engine"] = raw.headers.get("x-engine")
        async for chunk in raw.parse():
            seen.setdefault("first", time.monotonic())
            text += [choice.text for choice in chunk.choices]
        seen["ok"] = True
    except openai.APIError as error:
        seen["error"] = f"{type(error).__name__}: {getattr(error, 'code', None) or error}"[:200]
    except Exception as error:  # what a client's own library lets through is what its user sees
        seen["error"] = f"{type(error).__name__}: {error}"[:200]
    seen |= {"ended": time.monotonic(), "hash": hashlib.sha256("".join(text).encode()).hexdigest()[:16]}
    print(json.dumps(seen), flush=True)


async def program(client, options, name):
    number = 0
    while number < options.calls or (options.forever and not os.path.exists(options.forever)):
        await call(client, options, name, number)
        number += 1
    if options.end:
        await client.post(f"/programs/{name}/end", cast_to=object)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prefix", default="p")
    parser.add_argument("--forever")
    for name, default in {"programs": 8, "calls": 1, "tokens": 32, "retries": 0, "end": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    client = openai.AsyncOpenAI(base_url=f"{options.url}/v1", api_key="none", max_retries=options.retries, timeout=300)
    await asyncio.gather(*(program(client, options, f"{options.prefix}{n}") for n in range(options.programs)))


asyncio.run(main())
