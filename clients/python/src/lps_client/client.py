"""OpenAI's clients, whose calls say where they belong.

Owns: the headers of a call. Every call of OpenAI's client goes through its public `request`, once however often it is
tried. That method is the same in versions 2 and 3, between which the HTTP library beneath was exchanged; nothing here
touches that library.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

import openai

from . import lineage
from .program import AsyncProgram, Options, Program

CALLS = frozenset({"/chat/completions", "/completions", "/embeddings", "/responses"})
"""Paths whose requests are calls."""


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    """A constructor's arguments; where they say nothing else, for a router on this machine that asks for no key."""
    if options.get("base_url") is None:
        url = os.environ.get("LPS_URL", "http://127.0.0.1:8080").rstrip("/").removesuffix("/v1")
        options["base_url"] = f"{url}/v1"
    if options.keys().isdisjoint({"api_key", "workload_identity", "provider"}) and "OPENAI_API_KEY" not in os.environ:
        options["api_key"] = "none"
    return options


def _announce(client: openai.OpenAI | openai.AsyncOpenAI, options: Any) -> str | None:
    """Says in the headers of a call where it belongs, and returns its id; `None` where the request is no call, or its
    program is named by hand. What else is said by hand stands."""
    by_hand = {name.lower(): value for name, value in {**client.default_headers, **(options.headers or {})}.items()}
    if options.url not in CALLS or "x-program-id" in by_hand:
        return None
    place = lineage.begin()
    call = str(by_hand.get("x-call-id") or lineage.new_id("call"))
    headers = {
        "x-program-id": place.thread.program,
        "x-thread-id": place.thread.name,
        "x-call-id": call,
        "x-parent-call-ids": ",".join(place.after),
        # Another try while the first still runs is the same call.
        "idempotency-key": call,
    }
    missing = {name: value for name, value in headers.items() if name not in by_hand}
    options.headers = {**(options.headers or {}), **missing}
    return call


def _unreachable(error: openai.APIConnectionError) -> openai.APIConnectionError:
    """The same error in words that help."""
    if isinstance(error, openai.APITimeoutError):
        return error
    what = f"no router answers at {error.request.url}"
    message = f"{what}: start one with `lps up FILE`, or name another by base_url or LPS_URL"
    return openai.APIConnectionError(message=message, request=error.request)


class OpenAI(openai.OpenAI):
    """OpenAI's client for a router: at `base_url`, else `LPS_URL`, else `http://127.0.0.1:8080`."""

    if not TYPE_CHECKING:  # for a type checker the constructor is OpenAI's own, whatever its version

        def __init__(self, **options):
            super().__init__(**_defaults(options))

    def request(self, cast_to: Any, options: Any, **how: Any) -> Any:
        """Every request of the client; see OpenAI's."""
        call = _announce(self, options)
        try:
            answer = super().request(cast_to, options, **how)
        except openai.APIConnectionError as error:
            raise _unreachable(error) from error.__cause__
        if call is not None:
            lineage.answered(call)
        return answer

    def program(self, name: str = "program", **options: Unpack[Options]) -> Program:
        """A program, to be opened by `with`."""
        return Program(self, name, options)


class AsyncOpenAI(openai.AsyncOpenAI):
    """OpenAI's asynchronous client for a router: at `base_url`, else `LPS_URL`, else `http://127.0.0.1:8080`."""

    if not TYPE_CHECKING:

        def __init__(self, **options):
            super().__init__(**_defaults(options))

    async def request(self, cast_to: Any, options: Any, **how: Any) -> Any:
        """Every request of the client; see OpenAI's."""
        call = _announce(self, options)
        try:
            answer = await super().request(cast_to, options, **how)
        except openai.APIConnectionError as error:
            raise _unreachable(error) from error.__cause__
        if call is not None:
            lineage.answered(call)
        return answer

    def program(self, name: str = "program", **options: Unpack[Options]) -> AsyncProgram:
        """A program, to be opened by `async with`."""
        return AsyncProgram(self, name, options)


def program(name: str = "program", **options: Unpack[Options]) -> Program:
    """A program on the router of `LPS_URL`, where no client is at hand; to be opened by `with`."""
    return OpenAI().program(name, **options)
