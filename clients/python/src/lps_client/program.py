"""Programs: opening, reading and ending them.

Owns: what the router is told about a program, through the client that it was made by. The calls inside are not its
matter: they find their program in their context.
"""

from __future__ import annotations

import contextlib
import logging
import urllib.parse
from types import TracebackType
from typing import Literal, TypedDict

import openai

from . import lineage

_log = logging.getLogger("lps_client")


class Options(TypedDict, total=False):
    """What can be said of a program that is opened."""

    id: str
    """Its own name; made where it is absent."""
    ttl_s: float
    """How long it lives without a call, in seconds."""
    blocking: bool
    """Of a program inside another: whether that one waits for it. Then both are one row. True where it is absent."""


class CallStats(openai.BaseModel):
    """What the router says of one call; times in microseconds. What is not listed here is there all the same."""

    id: str
    thread: str
    parents: list[str] | None = None
    """`None` where nothing was said about them."""
    state: str
    engine: str | None = None
    service_us: int
    wait_us: int
    p_us: int
    """The longest path before it: its priority."""
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class Stats(openai.BaseModel):
    """A program's row in the router's table; times in microseconds. What is not listed here is there all the same."""

    id: str
    state: Literal["live", "in_tool", "ending", "ended", "expired"]
    service_total_us: int
    critical_path_us: int
    """The longest chain of dependent calls."""
    wait_total_us: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    calls: list[CallStats]


class _Program:
    """What programs do alike, whatever their client."""

    def __init__(self, name: str, options: Options) -> None:
        self.id = options.get("id") or lineage.new_id(name)
        self._opening: dict[str, object] = {**options, "id": self.id, "class": name}
        self._block = contextlib.ExitStack()

    def _path(self, of: str = "") -> str:
        return f"/programs/{urllib.parse.quote(self.id, safe='')}{of}"

    def _to_open(self) -> dict[str, object]:
        """What the router is told. A program that is opened inside another is a part of that."""
        parent = lineage.opened()
        blocking = parent is not None and self._opening.get("blocking", True)
        return {**self._opening, "parent": parent, "blocking": blocking}

    def _opened(self, told: dict[str, object]) -> None:
        """The router knows it: calls are its own from here on."""
        thread = lineage.Thread(self.id)
        if told["blocking"]:
            # The one that waits and this one are one row: its calls stand between the other's.
            outer = lineage.begin()
            thread = lineage.Thread(self.id, after=outer.after, origin=outer.thread)
        self._block.enter_context(lineage.within(thread))

    def _closed(self, failed: bool) -> str:
        """The block is over. Returns where the router is told; where it raised, nobody waits for its open calls."""
        self._block.close()
        return self._path("/cancel" if failed else "/end")

    def _not_told(self, error: openai.APIError) -> None:
        """The block's work is done all the same, and the router ends by itself what is silent."""
        _log.warning("the router was not told that program %s is over: %s", self.id, error)


def _explained(error: openai.NotFoundError) -> openai.NotFoundError:
    """What a server says that knows no programs, in words that help."""
    message = f"{error.request.url} is not there: is this a router of lps? base_url or LPS_URL names one"
    return openai.NotFoundError(message, response=error.response, body=error.body)


class Program(_Program):
    """A program that is open inside its `with` block. Calls made there, and in what is started there, are its own.

    Its name is what programs of its kind are called: the router learns by it. It is over when the block ends; when the
    block raises, its open calls are cancelled.
    """

    def __init__(self, client: openai.OpenAI, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._client = client

    def __enter__(self) -> Program:
        told = self._to_open()
        try:
            self._client.post("/programs", cast_to=object, body=told)
        except openai.NotFoundError as error:
            raise _explained(error) from None
        self._opened(told)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        path = self._closed(failed=kind is not None)
        try:
            self._client.post(path, cast_to=object)
        except openai.APIError as failure:
            self._not_told(failure)

    def stats(self) -> Stats:
        """Its row and its calls. One that another waits for has the row of that, and none of its own at its end."""
        return self._client.get(self._path(), cast_to=Stats)

    def cancel(self) -> Stats:
        """Cancels its open calls and ends it."""
        return self._client.post(self._path("/cancel"), cast_to=Stats)


class AsyncProgram(_Program):
    """The same for `async with`; see `Program`."""

    def __init__(self, client: openai.AsyncOpenAI, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._client = client

    async def __aenter__(self) -> AsyncProgram:
        told = self._to_open()
        try:
            await self._client.post("/programs", cast_to=object, body=told)
        except openai.NotFoundError as error:
            raise _explained(error) from None
        self._opened(told)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        path = self._closed(failed=kind is not None)
        try:
            await self._client.post(path, cast_to=object)
        except openai.APIError as failure:
            self._not_told(failure)

    async def stats(self) -> Stats:
        """Its row and its calls. One that another waits for has the row of that, and none of its own at its end."""
        return await self._client.get(self._path(), cast_to=Stats)

    async def cancel(self) -> Stats:
        """Cancels its open calls and ends it."""
        return await self._client.post(self._path("/cancel"), cast_to=Stats)
