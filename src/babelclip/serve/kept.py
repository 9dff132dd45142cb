"""The cache before a model: what was computed before is taken from there, and what is computed now goes there."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from babelclip.arrays import Vectors
from babelclip.serve.cache import VectorCache, entry_name
from babelclip.serve.priced import Priced, PricedText

Compute = Callable[[Sequence[Priced]], Awaitable[list[Vectors | Exception]]]
_LOGGER = logging.getLogger("babelclip.serve")


@dataclass(frozen=True, slots=True)
class KeptVectors:
    """A cache as one model uses it. A cache that fails costs time, never an answer."""

    cache: VectorCache
    threads: Executor
    namespace: str
    looked_up: Callable[[int, int], None]  # hits, misses

    async def vectors(self, items: Sequence[Priced], compute: Compute) -> list[Vectors | Exception]:
        """As ``compute`` gives them; errors are not kept. An item that is sent twice is computed once."""
        loop = asyncio.get_running_loop()
        names, found = await loop.run_in_executor(self.threads, self._look_up, items)
        missing = {name: item for name, item in zip(names, items, strict=True) if name not in found}
        self.looked_up(len(items) - len(missing), len(missing))
        if not missing:
            return [found[name] for name in names]
        computed = dict(zip(missing, await compute(list(missing.values())), strict=True))
        fresh = {name: vector for name, vector in computed.items() if not isinstance(vector, Exception)}
        await loop.run_in_executor(self.threads, self._keep, fresh)
        return [found[name] if name in found else computed[name] for name in names]

    def _look_up(self, items: Sequence[Priced]) -> tuple[list[bytes], dict[bytes, Vectors]]:
        names = [self._name(item) for item in items]
        try:
            return names, self.cache.get(list(dict.fromkeys(names)))
        except sqlite3.Error as error:
            _LOGGER.warning("cache_failed", extra={"facts": {"kind": type(error).__name__}})
            return names, {}

    def _name(self, item: Priced) -> bytes:
        if isinstance(item, PricedText):
            return entry_name(self.namespace, "text", item.task, item.text)
        if isinstance(item.content, bytes):
            return entry_name(self.namespace, "image", None, item.content)
        return entry_name(f"{self.namespace} {item.content.shape}", "pixels", None, item.content.tobytes())

    def _keep(self, fresh: dict[bytes, Vectors]) -> None:
        try:
            self.cache.put(fresh)
        except sqlite3.Error as error:
            _LOGGER.warning("cache_failed", extra={"facts": {"kind": type(error).__name__}})
