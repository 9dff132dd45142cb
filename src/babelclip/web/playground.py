"""Try the vectors: texts and images in, how alike they are out, with the price and the request that gives the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from babelclip.arrays import Vectors
from babelclip.encodes import Encodes
from babelclip.errors import ConfigError, InputError, ItemsError
from babelclip.prepare.open_image import stated_size
from babelclip.serve.pricing import Usage, image_tokens
from babelclip.vectors import similarity
from babelclip.web.curl import Api, ImageFile, curl_line
from babelclip.web.settings import PageSettings
from babelclip.web.state import CountTokens


@dataclass(frozen=True, slots=True)
class PlaygroundItem:
    """A text, or an image with its name."""

    name: str
    image: bytes | None = None

    @property
    def label(self) -> str:
        """How it is shown."""
        return self.name if self.image is None else f"[{self.name}]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came out."""

    items: tuple[PlaygroundItem, ...]
    vectors: Vectors  # (N, dim)
    cosines: Vectors  # (N, N)
    usage: Usage | None  # None where the model's tokens cannot be counted here
    request: str  # a shell command


def compare_items(
    encoder: Encodes,
    items: Sequence[PlaygroundItem],
    dim: int,
    count_tokens: CountTokens | None,
    api: Api,
    *,
    settings: PageSettings,
    before_each: Callable[[], object] = lambda: None,
) -> Comparison:
    """Embed and compare.

    Args:
        encoder: the model.
        items: what is compared.
        dim: of the vectors.
        count_tokens: for the price; None where nobody can tell it.
        api: where the request that is shown goes to.
        settings: how much is taken.
        before_each: called before each step that costs; what it raises ends the work.

    Raises:
        ConfigError: there are too many items, or the model has no such width.
        InputError: an item cannot be embedded.
    """
    if not items or len(items) > settings.compared_items:
        raise ConfigError(f"give from 1 to {settings.compared_items} texts and images")
    texts = {index: item.name for index, item in enumerate(items) if item.image is None}
    images = {index: item.image for index, item in enumerate(items) if item.image is not None}
    check_texts(list(texts.values()), settings)
    limits = settings.upload_limits
    sizes = [stated_size(image, limits) for image in images.values()]  # before anything is decoded
    vectors = np.empty((len(items), dim), np.float32)
    try:
        before_each()
        if texts:
            vectors[list(texts)] = encoder.encode_text(list(texts.values()), dim=dim)
        for index, image in images.items():  # one by one: no two are decoded at the same time
            before_each()
            vectors[index] = encoder.encode_image(image, dim=dim)
    except ItemsError as error:
        raise InputError("; ".join(error.failures.values())) from error
    usage = None
    if count_tokens is not None:
        usage = Usage(
            text_tokens=count_tokens(list(texts.values())),
            image_tokens=sum(image_tokens(width, height) for width, height in sizes),
        )
    sent = [item.name if item.image is None else ImageFile(item.name) for item in items]
    request = curl_line(api, encoder.name, sent, dim)
    return Comparison(tuple(items), vectors, similarity(vectors, vectors), usage, request)


def check_texts(texts: Sequence[str], settings: PageSettings) -> None:
    """Whether so much text is taken.

    Raises:
        ConfigError: it is too much.
    """
    count = sum(map(len, texts))
    if count > settings.compared_characters:
        raise ConfigError(f"the texts have {count:,} characters, the limit is {settings.compared_characters:,}")
