"""Random calls, played all at once on one engine, and what came of each.

Owns: what is asked and what is to happen to it, which a seed fixes, and doing it through the official client. When it
happens is the machine's affair. Knows nothing of what must hold.
"""

import asyncio
import dataclasses
import itertools
import json
import random

import openai

WORDS = "a program is many calls and each of them waits for one before it while pages are kept in a pool of blocks".split()
OPEN_MAX = 64  # calls at once: twice as many as sequences in a batch
HEARD_PER_ORDER = 12  # chunks after which some calls change places


@dataclasses.dataclass
class Choice:
    """What one choice said."""

    text: str = ""
    tokens: list = dataclasses.field(default_factory=list)
    logprobs: list = dataclasses.field(default_factory=list)
    finish: str | None = None

    def take(self, choice):
        """One choice of an answer, or of a chunk."""
        said = choice.get("message") or choice.get("delta") or choice
        self.text += said.get("content") or said.get("text") or ""
        self.tokens += choice.get("token_ids") or []
        logprobs = choice.get("logprobs") or {}
        if "content" in logprobs:
            self.logprobs += logprobs["content"]
        else:
            self.logprobs += zip(*(logprobs.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs")))
        self.finish = choice.get("finish_reason") or self.finish


@dataclasses.dataclass
class Ask:
    """A request, but for whether it is streamed."""

    path: str
    body: dict

    def stopped_at(self, stop):
        return Ask(self.path, {**self.body, "stop": [stop]})


FORMS = [
    {"regex": "[a-z]{3,40}( [a-z]{2,9}){4,12}\\."}, {"choice": ["yes", "no", "a longer answer: é🌍"]}, {"json_object": True},
    {"json": {"type": "array", "items": {"enum": ["up", "down", 7, None]}, "minItems": 4, "maxItems": 30}},
    {"grammar": 'start: "(" start ")" | "[" start "]" start | "x"'},
]


@dataclasses.dataclass
class Call:
    """An ask, and what is to happen to it."""

    number: int
    ask: int
    streams: bool
    fate: str  # "stay", "leave" after so many chunks, or be "cancelled"
    chunks: int
    order: str
    choices: dict = dataclasses.field(default_factory=dict)
    end: str | None = None  # "whole", "cancelled" or "left"

    @property
    def name(self):
        return f"stress-{self.number}"


def make_ask(source):
    """A request that any engine answers alike: greedy, or with a seed."""
    chance = lambda share: source.random() < share
    words = lambda least, most: " ".join(source.choices(WORDS, k=source.randint(least, most)))
    # Few beginnings, so that pages are shared; ends that differ.
    prompt = lambda: " ".join(WORDS[:source.choice([0, 8, 24])] * source.choice([1, 2])) + " " + words(1, 30)
    body = {"model": "demo", "max_tokens": source.randint(1, 60), "ignore_eos": chance(0.8), "return_token_ids": True,
            "n": source.choice([1, 1, 1, 2, 3])}
    if chance(0.5):
        body["temperature"] = 0
    else:
        body |= {"temperature": source.choice([0.7, 1.0, 1.6]), "seed": source.randrange(1 << 30)}
        body |= source.choice([{}, {"top_p": 0.9}, {"top_k": 20}, {"min_p": 0.05}])
    body |= source.choice([{}, {}, {"frequency_penalty": 0.5}, {"repetition_penalty": 1.3}])
    if chance(0.25):
        # A form says itself when a text ends.
        del body["ignore_eos"]
        body["structured_outputs"] = source.choice(FORMS)
    if chance(0.2):
        body["cache_salt"] = source.choice(["one", "other"])
    if chance(0.5):
        body |= {"messages": [{"role": "user", "content": prompt()}]}
        body |= source.choice([{}, {}, {"logprobs": True, "top_logprobs": 3}])
        return Ask("/v1/chat/completions", body)
    body |= {"prompt": [prompt(), prompt()] if chance(0.15) else prompt()}
    body |= source.choice([{}, {}, {"logprobs": 2}])
    return Ask("/v1/completions", body)


def make_order(source):
    return source.randrange(4), source.randrange(-50, 50)


def make_call(source, number, asks):
    streams = source.random() < 0.7
    fate = source.choices(["stay", "leave", "cancelled"], [70, 15, 15])[0]
    queue, rank = make_order(source)
    return Call(number, source.randrange(asks), streams, fate, source.randrange(1, 20), f"{queue},{rank}")


class Player:
    """The client of one engine."""

    def __init__(self, url, seed=0):
        self.url, self.source = url, random.Random(f"orders of {seed}")
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=300)
        self.open = {}
        self.heard = itertools.count(1)
        self.disturb = asyncio.Event()

    async def alone(self, ask):
        """The choices of a request that nothing else runs beside."""
        return self._choices({}, await self._post(ask.path, ask.body))

    async def play(self, calls, asks):
        """Plays all calls, at most `OPEN_MAX` at once; what came of each is noted in it."""
        gate = asyncio.Semaphore(OPEN_MAX)

        async def one(call):
            async with gate:
                self.open[call.name] = call, asyncio.create_task(self._call(call, asks[call.ask]))
                await asyncio.wait([self.open[call.name][1]])
                _, task = self.open.pop(call.name)
                call.end = "left" if task.cancelled() else task.result()

        disturber = asyncio.create_task(self._disturb())
        try:
            await asyncio.gather(*map(one, calls))
            assert not disturber.done(), disturber.result()
        finally:
            disturber.cancel()

    async def _post(self, path, body, **headers):
        return await self.client.post(f"{self.url}{path}", body=body, options={"headers": headers}, cast_to=object)

    @staticmethod
    def _choices(choices, answer):
        for choice in answer.get("choices", []):
            choices.setdefault(choice["index"], Choice()).take(choice)
        return choices

    async def _call(self, call, ask):
        headers = {"x-call-id": call.name, "x-program-id": f"program-{call.number % 20}", "x-lps-order": call.order}
        try:
            if call.streams:
                return await self._stream(call, ask, headers)
            self._choices(call.choices, await self._post(ask.path, ask.body, **headers))
            return "whole"
        except openai.APIError as error:
            assert (error.code, call.fate) == ("cancelled", "cancelled"), f"{call.name}: {error}"
            return "cancelled"

    async def _stream(self, call, ask, headers):
        stream = await self.client.post(
            f"{self.url}{ask.path}", body={**ask.body, "stream": True}, options={"headers": headers}, stream=True,
            cast_to=object, stream_cls=openai.AsyncStream[object])
        chunks = 0
        async for chunk in stream:
            self._choices(call.choices, chunk)
            chunks += 1
            if next(self.heard) % HEARD_PER_ORDER == 0:
                self.disturb.set()
            if call.fate == "leave" and chunks == call.chunks:
                await stream.close()
                return "left"
        return "whole"

    async def _disturb(self):
        """Changes places of open calls, ends those that are to be ended, twice, and leaves those that do not stream."""
        while True:
            await self.disturb.wait()
            self.disturb.clear()
            commands = []
            for name in self.source.sample(sorted(self.open), min(6, len(self.open))):
                call, task = self.open[name]
                if call.fate == "cancelled":
                    commands += [{"type": "cancel", "call": name}] * 2
                elif call.fate == "leave" and not call.streams:
                    task.cancel()
                else:
                    queue, rank = make_order(self.source)
                    commands.append({"type": "order", "call": name, "order": {"queue": queue, "rank": rank}})
            found = (await self._post("/internal/v1/calls", {"commands": commands}))["found"]
            assert len(found) == len(commands), json.dumps([commands, found])
