"""Large pictures are decoded one after the other, whoever asks for them: several at once would fill the memory.

A file of its own, because what the model sees and what people look at wait for the same turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from babelclip.prepare.pixel_budget import DECODING


@contextmanager
def taking_turns() -> Iterator[Callable[[tuple[int, int]], None]]:
    """Meanwhile one picture is opened and made small.

    Yields:
        What to call with its width and height before it is decoded (``open_picture``'s ``before_decoding``): it waits
        while this process holds another large one or many small ones; a small one does not wait for one large one.
    """
    with ExitStack() as turn:

        def wait(size: tuple[int, int]) -> None:
            turn.enter_context(DECODING.room(size[0] * size[1]))

        yield wait
