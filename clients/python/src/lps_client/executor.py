"""Threads that stay in their program. Owns: the hand-over of a context to a pool's thread."""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ThreadPoolExecutor(concurrent.futures.ThreadPoolExecutor):
    """The standard library's, whose threads know the context of who submitted. Tasks of asyncio do so by themselves."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> concurrent.futures.Future[_T]:
        """Runs `fn` in a thread of the pool, in a copy of the caller's context."""
        return super().submit(functools.partial(contextvars.copy_context().run, fn, *args, **kwargs))
