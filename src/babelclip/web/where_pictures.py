"""Pictures of where in a photo a text is seen; the last ones are kept, for each costs a hundred looks of the model.

A file of its own, because ``pictures`` draws what is indexed without any model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from babelclip.encodes import Encodes
from babelclip.explain.occlusion import draw_heat, where_seen
from babelclip.search.query import query_vector
from babelclip.search.walk import exact_path
from babelclip.web.pictures import Pictures
from babelclip.web.search_request import query_of
from babelclip.web.work_queue import StopFlag

MOST_KEPT = 32
"""Each has some hundreds of kilobytes."""
_Key = tuple[str, tuple[str, ...], int, int]


class WherePictures:
    """Threads may share one."""

    def __init__(self, pictures: Pictures, encoder: Encodes, query_parts: int) -> None:
        """Nothing is drawn yet.

        Args:
            pictures: of what is indexed.
            encoder: the model that looks.
            query_parts: that a query may have.
        """
        self._pictures, self._encoder, self._query_parts = pictures, encoder, query_parts
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, id: str, words: tuple[str, ...], stop: StopFlag) -> bytes:
        """A PNG of a photo or page, warm where the words are seen.

        Raises:
            ImageError: there is no such photo, or its file cannot be opened.
            ConfigError: the words are no query.
            Stopped: nobody waits for it any more.
        """
        asked = query_of(words, self._query_parts)
        key = (id, words, *self._version(id))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        opened = self._pictures.whole(id)
        stop.check()
        query = query_vector(self._encoder, asked)
        drawn = draw_heat(where_seen(self._encoder, opened, query, before_each=stop.check))
        with self._lock:
            self._kept[key] = drawn
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return drawn

    def _version(self, id: str) -> tuple[int, int]:
        """Bytes and time of a photo's file as it is now: a changed one is another picture."""
        try:
            found = exact_path(self._pictures.row(id).metadata).stat()
        except OSError:
            return 0, 0  # opening it will say why
        return found.st_size, found.st_mtime_ns
