"""Every error that babelclip raises on purpose.

    BabelclipError
    |-- ConfigError          an option or configuration that is unknown, in conflict or not supported
    |-- FolderError          a path that is not a model folder, or a folder with a file missing
    |-- WeightsError         tensors missing, left over, of a wrong shape, not finite, or not matching a checksum
    |-- FetchError           a download that is refused, impossible offline, or broken
    |-- RuntimeUnavailable   nothing at hand that can run the model; the message names the ways out
    |-- DatasetError         data for training or evaluation that is absent or not in its documented form
    |-- Refusal              a request that the server turns away (``serve.errors``)
    |-- KeyFileError         a file of keys that cannot be used (``serve.access.key_schema``)
    |-- BackendLost, Overloaded, ShuttingDown
    |                        what parts of the server tell each other (``serve.inference.batcher``)
    |-- Stopped              work of the page that nobody waits for any more (``web.work_queue``)
    |-- ServerError          a server that does not answer, or not as it should
    |-- StoreError           an index that cannot be opened, is damaged, or lacks what was asked of it
    |   |-- ModelDiffers     an index whose vectors another model made, or nobody knows which
    |   `-- Damaged          bytes of an index that are no longer what was written (``search.stores.sqlite_seals``)
    |-- ItemsError           some items of a call failed; carries the reasons and the vectors of all others
    `-- InputError           one item that cannot be embedded
        |-- TextError
        |-- ImageError
        |   `-- UrlRefused   an image URL that was not fetched (``serve.images.image_url``)
        `-- UnknownTask

``ConfigError`` and ``InputError`` are ``ValueError`` too, so callers that know nothing of babelclip can catch them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BabelclipError(Exception):
    """Base of all errors that babelclip raises on purpose."""


class ConfigError(BabelclipError, ValueError):
    """An option or configuration that is unknown, in conflict or not supported."""


class FolderError(BabelclipError):
    """A path that is not a model folder, or a folder with a file missing."""


class WeightsError(BabelclipError):
    """Tensors missing, left over, of a wrong shape, not finite, or not matching a checksum."""


class FetchError(BabelclipError):
    """A download that is refused, impossible offline, or broken."""


class RuntimeUnavailable(BabelclipError):
    """Nothing at hand can run the model; the message names the ways out."""


class DatasetError(BabelclipError):
    """Data for training or evaluation that is absent or not in its documented form."""


class ServerError(BabelclipError):
    """A server did not answer, or answered with an error.

    Attributes:
        status: the HTTP status; None: there was no answer.
        code: the server's own code, where it sent one.
        fields: the places of the request that it complains of.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, fields: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.fields = status, code, fields


class StoreError(BabelclipError):
    """An index that cannot be opened, is damaged, or does not hold what was asked of it."""


class ModelDiffers(StoreError):
    """An index whose vectors another model made, or nobody knows which; the message says how to embed it anew."""


class InputError(BabelclipError, ValueError):
    """One item that cannot be embedded; the message names the item and the reason."""


class TextError(InputError):
    """A text that cannot be embedded."""


class ImageError(InputError):
    """An image that cannot be opened, decoded or is over a limit."""


class UnknownTask(InputError):
    """A task that the model does not know; the message lists those that it does."""


class ItemsError(BabelclipError):
    """Some items of a call failed. Nothing is lost: the others are in ``vectors``.

    Attributes:
        failures: position of each failed item -> reason.
        vectors: float32 (N, dim), rows of failed items are NaN.
    """

    def __init__(self, failures: Mapping[int, str], vectors: NDArray[np.float32]) -> None:
        self.failures = dict(sorted(failures.items()))
        self.vectors = vectors
        shown = "; ".join(f"item {i}: {reason}" for i, reason in list(self.failures.items())[:3])
        more = len(self.failures) - 3
        tail = f"; and {more} more" if more > 0 else ""
        super().__init__(
            f"{len(self.failures)} of {len(vectors)} items failed ({shown}{tail}). "
            "The other vectors are in this error's .vectors, the reasons in .failures."
        )

    def __reduce__(self) -> tuple[object, ...]:  # by its message alone it could not be made again in another process
        return type(self), (self.failures, self.vectors)


class TruncationWarning(UserWarning):
    """Texts were cut to the token limit; the message says how many and by how much."""


class DamagedImageWarning(UserWarning):
    """A part of an image could not be read and the rest was used; the message names it, or says how many."""
