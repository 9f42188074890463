"""Which program and thread a call belongs to, and which calls it depends on.

Owns: what a context knows of the calls made so far. Knows nothing of HTTP.

A context (`contextvars`) carries a `Place`: a thread, and the calls that what comes next depends on. A task gets a copy
of it when it is started. When it calls, it sees that the place is another's and forks: its calls begin from what its
copy says. What forks answered is kept at the threads that they came from, whose next call is a join.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import os
import secrets
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PARENTS_MAX = 256
"""Most parents that a router takes of one call; of more, those that answered last are named."""
DEPTH_MAX = 64
"""Forks of forks that joins know of."""

Calls = tuple[str, ...]

_lock = threading.Lock()
"""Guards what threads know of their forks' answers."""


def new_id(kind: str) -> str:
    """An id that nobody else makes."""
    return f"{kind}-{secrets.token_hex(6)}"


class Thread:
    """A chain of calls inside a program: those of one asyncio task, one thread of the process, or one branch."""

    def __init__(self, program: str, name: str = "main", *, after: Calls = (), origin: Thread | None = None) -> None:
        self.program = program
        self.name = name
        self.after = after
        """What its first call depends on."""
        self.last = after
        """Where it stands: its last call that was answered, or what it joined since."""
        self.is_automatic = False
        self._depth: int = 0 if origin is None else origin._depth + 1
        self._origin = origin if self._depth <= DEPTH_MAX else None
        self._numbers: Iterator[int] = itertools.count(1) if origin is None else origin._numbers
        self._answered: dict[Thread, None] = {}
        self._runner = weakref.ref(_runner())

    @classmethod
    def automatic(cls) -> Thread:
        """Of a program that nobody opened: that of one task or thread, named for the command that runs."""
        command = os.path.basename(sys.argv[0]).removesuffix(".py")
        name = "".join(character for character in command if character.isascii() and character.isalnum())
        thread = cls(new_id(name[:64] or "python"))
        thread.is_automatic = True
        return thread

    def fork(self, after: Calls, name: str | None = None) -> Thread:
        """A thread that goes on from here."""
        thread = Thread(self.program, name or f"fork-{next(self._numbers)}", after=after, origin=self)
        thread.is_automatic = self.is_automatic
        return thread

    def is_mine(self) -> bool:
        """Whether the caller is the task or thread that began it."""
        return self._runner() is _runner()

    def answer(self, call: str) -> None:
        """A call on it was answered: who joins it depends on that call."""
        with _lock:
            self.last = (call,)
            fork, thread = self, self._origin
            while thread is not None:
                thread._answered.pop(fork, None)  # who answers last stands last
                thread._answered[fork] = None
                if len(thread._answered) > PARENTS_MAX:
                    del thread._answered[next(iter(thread._answered))]
                fork, thread = thread, thread._origin

    def join(self, after: Calls) -> Calls:
        """It goes on from `after` and what its forks answered since it last did."""
        with _lock:
            self.last = self._frontier(after)[-PARENTS_MAX:]
            self._answered.clear()
            return self.last

    def _frontier(self, after: Calls) -> Calls:
        """`after` and what forks answered, which stands for `after` where they came from it."""
        calls = [call for fork in self._answered for call in fork._frontier(fork.last)]
        covered = any(fork.after == after for fork in self._answered)
        return tuple(dict.fromkeys(calls if covered else [*after, *calls]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a context stands: what is called next is on the thread, and depends on these calls."""

    thread: Thread
    after: Calls


_place: contextvars.ContextVar[Place | None] = contextvars.ContextVar("lps_place", default=None)


def _runner() -> object:
    """What runs: an asyncio task, or a thread of the process."""
    task = None
    with contextlib.suppress(RuntimeError):
        task = asyncio.current_task()
    return task or threading.current_thread()


def here() -> Place:
    """The caller's place. One that is another's is forked; without one an automatic program begins."""
    place = _place.get()
    if place is not None and place.thread.is_mine():
        return place
    if place is None or place.thread.is_automatic:
        place = Place(Thread.automatic(), ())
    else:
        place = Place(place.thread.fork(place.after), place.after)
    _place.set(place)
    return place


def opened() -> str | None:
    """The program around the caller that was opened, if there is one."""
    place = _place.get()
    return None if place is None or place.thread.is_automatic else place.thread.program


def begin() -> Place:
    """The place of a call that begins now: its thread and its parents."""
    place = here()
    place = Place(place.thread, place.thread.join(place.after))
    _place.set(place)
    return place


def answered(call: str) -> None:
    """The caller has its answer: what it does next depends on that call."""
    thread = here().thread
    thread.answer(call)
    _place.set(Place(thread, (call,)))


def join() -> None:
    """What comes next depends on everything that was answered so far; to be said where parallel calls follow others."""
    begin()


@contextlib.contextmanager
def within(thread: Thread) -> Iterator[Thread]:
    """Calls inside are the thread's; afterwards the context stands where it stood."""
    before = _place.get()
    _place.set(Place(thread, thread.after))
    try:
        yield thread
    finally:
        _place.set(before)


def branch(
    name: str | None = None, *, after: Iterable[str | Thread] | None = None
) -> contextlib.AbstractContextManager[Thread]:
    """A thread of its own for the calls inside; what is called after the block depends on it.

    It begins from where the caller stands, or from `after`: ids of calls, and branches, whose last calls are meant; an
    empty list says that it depends on nothing.
    """
    place = here()
    if after is None:
        return within(place.thread.fork(place.after, name))
    calls = [(it,) if isinstance(it, str) else it.last for it in after]
    return within(place.thread.fork(tuple(itertools.chain.from_iterable(calls)), name))
