"""``RemoteEncoder``: an encoder that is somewhere else, reached over the Jina embeddings API."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from babelclip.arrays import Vectors
from babelclip.data_uri import from_base64, to_base64
from babelclip.errors import ConfigError, ImageError, InputError, ServerError, TextError, UnknownTask
from babelclip.item_encoder import Call, ItemEncoder, checked
from babelclip.prepare.ahead import prepare_ahead, windows
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.cuts import Cuts
from babelclip.prepare.damages import Damages
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import ImageSource, open_image, read_file, short_name
from babelclip.remote.http_transport import HttpTransport, blames_items
from babelclip.vectors import finish

Sent = TypeVar("Sent", bound="str | Mapping[str, str]")

TEXTS_A_REQUEST, CHARACTERS_A_REQUEST = 128, 200_000
IMAGES_A_REQUEST = 8
REQUESTS_AT_ONCE = 4
_TOO_LONG = "INPUT_TOKEN_LIMIT_EXCEEDED"
_PUBLISHED: dict[str, dict[str, Any]] = {"jina-clip-v2": {"dimensions": 1024, "image_prepare": {"size": 512}}}
"""What Jina's own server does not tell of the model that its release describes (docs/reference/published-model.md)."""


_Result = TypeVar("_Result")


class RemoteEncoder(ItemEncoder):
    """Texts and images to vectors, computed by a server: ``babelclip serve``, Jina's own, or another of its API.

    Stands wherever an ``Encodes`` is asked for. With ``shrink_images`` an image is brought here to the very square that
    the model sees and sent as a PNG, which gives the same vector and costs one tile; else its file is sent as it is.
    Only the model's own limit can cut texts, and how many were cut is not known. Where the server fails, no vector is
    returned: every call may raise ``ServerError``. Threads may share one. It can be copied and pickled, the key with
    it. Close it, or use it in a ``with``, when it is no longer needed.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        model: str | None = None,
        shrink_images: bool = True,
        timeout: float = 60.0,
        patience: float = 120.0,
    ) -> None:
        """Ask a server for the model; everything else is asked when it is needed.

        Args:
            url: of the server, with or without ``/v1``.
            model: one of the server's; may be left out where it has only one.
            timeout: seconds for one request.
            patience: seconds to go on trying while the server is busy or away.

        Raises:
            ConfigError: the server has several models, or does not tell what it takes to use this one.
            ServerError: it cannot be reached, does not know the key, or does not serve the model.
        """
        self._transport = HttpTransport(_base(url), key, timeout=timeout, patience=patience)
        try:
            card = self._read_card(model)
        except BaseException:
            self.close()
            raise
        self._asked_name = str(card["id"])
        self.name = str(card.get("runs", self._asked_name))
        self.dim = int(card["dimensions"])
        self.dims = tuple(card.get("matryoshka") or (self.dim,))
        self.logit_scale: float | None = card.get("logit_scale")
        self.calibration = None  # what scores mean is with the model's folder, which lies elsewhere
        self._facts = dict(card.get("facts") or {})
        self.max_tokens: int | None = card.get("max_tokens")
        self._tasks: tuple[str, ...] | None = None if "tasks" not in card else tuple(card["tasks"])
        self._max_items = int(card.get("max_items", TEXTS_A_REQUEST))
        prepare = card.get("image_prepare")
        self._preparer = None if prepare is None or not shrink_images else ImagePreparer(_image_prepare(prepare))
        self._image_size = None if prepare is None else int(prepare["size"])

    def close(self) -> None:
        """Close the connections that are open; it cannot be used after that."""
        self._transport.close()

    @property
    def image_size(self) -> int | None:
        """Side in pixels of the square that the model sees; None where it embeds texts only."""
        return self._image_size

    def upright(self) -> RemoteEncoder:
        """As ``Encoder.upright``; both share their connections.

        Raises:
            ConfigError: images are sent whole: how they are turned is the server's business then.
        """
        if self.image_size is None:
            return self
        if self._preparer is None:
            raise ConfigError("photos that are sent whole cannot be turned here: use shrink_images=True")
        turned = copy(self)
        turned._preparer = self._preparer.upright()
        return turned

    def facts(self) -> dict[str, str | int | None]:
        """What the server tells of the model and of what runs it, and where it is."""
        return {"model": self.name, **self._facts, "dim": self.dim, "remote": self._transport.url}

    def tokenize(self, texts: str | Iterable[str], *, task: str | None = None) -> list[list[int]]:
        """What ``Encoder.tokenize`` does, a server does not.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "token ids stay with the server, whose API has no place for them; load the model itself to see them, or "
            "ask the server's /v1/tokens how many tokens a text has"
        )

    def _call(self, task: str | None, dim: int | None, normalize: bool, max_tokens: int | None) -> Call:
        options = self._options(task, dim, normalize, max_tokens)
        cuts, damages = Cuts(), Damages()
        return Call(
            options["dimensions"],
            lambda texts: self._texts(texts, options, cuts),
            lambda images: self._images(images, {**options, "task": None}, cuts, damages),
            cuts,
            damages,
        )

    def _options(self, task: str | None, dim: int | None, normalize: bool, max_tokens: int | None) -> dict[str, Any]:
        """What goes into every request of a call.

        Raises:
            ConfigError: an option that the model does not have, or that cannot be sent.
            UnknownTask: a task that the server's model does not have; one that does not tell its tasks is asked.
        """
        if max_tokens is not None:
            raise ConfigError("max_tokens cannot be sent to a server: it cuts texts at its model's own limit")
        if task is not None and self._tasks is not None and task not in self._tasks:
            known = ", ".join(map(repr, self._tasks)) or "none at all"
            raise UnknownTask(f"unknown task {task!r}; this model knows {known}. Without a task nothing is added.")
        width = finish(np.empty((0, self.dim), np.float32), dim).shape[1]
        return {"task": task, "dimensions": width, "normalized": normalize}

    def _texts(self, texts: Iterable[object], options: Mapping[str, Any], cuts: Cuts) -> Iterator[Vectors | InputError]:
        """One result a text, in order; a few requests at once."""

        def ask(part: list[object]) -> list[Vectors | InputError]:
            sent: list[str | InputError] = [checked(text) for text in part]
            return self._results(sent, options, cuts, TextError)

        parts = windows(texts, min(TEXTS_A_REQUEST, self._max_items), CHARACTERS_A_REQUEST)
        yield from _joined(prepare_ahead(ask, parts, workers=REQUESTS_AT_ONCE, ahead=2 * REQUESTS_AT_ONCE))

    def _images(
        self, images: Iterable[object], options: Mapping[str, Any], cuts: Cuts, damages: Damages
    ) -> Iterator[Vectors | InputError]:
        """One result an image, in order; a few requests at once, each prepared in its thread."""

        def ask(part: list[object]) -> list[tuple[Vectors | InputError, str | None, str]]:
            sent = [self._sent_image(image) for image in part]
            results = self._results([item for item, _ in sent], options, cuts, ImageError)
            names = [short_name(image) for image in part]
            return [(result, damage, name) for result, (_, damage), name in zip(results, sent, names, strict=True)]

        source = iter(images)
        parts = iter(lambda: list(islice(source, min(IMAGES_A_REQUEST, self._max_items))), [])
        answers = prepare_ahead(ask, parts, workers=REQUESTS_AT_ONCE, ahead=REQUESTS_AT_ONCE)
        for result, damage, name in _joined(answers):
            damages.note(damage, name)
            yield result

    def _sent_image(self, image: object) -> tuple[dict[str, str] | InputError, str | None]:
        """What is sent for an image, and what was wrong with it where it was opened here."""
        source, damage = cast("ImageSource", image), None
        try:
            if self._preparer is not None:
                crop = self._preparer.crop_picture(source)
                content, damage = as_png(Image.fromarray(crop.square)), crop.damage
            elif isinstance(source, Image.Image | np.ndarray):
                content = as_png(open_image(source))
            else:
                content = read_file(source)
        except ImageError as error:
            return error, None
        return {"image": to_base64(content)}, damage

    def _results(
        self, items: Sequence[Sent | InputError], options: Mapping[str, Any], cuts: Cuts, kind: type[InputError]
    ) -> list[Vectors | InputError]:
        good = [item for item in items if not isinstance(item, InputError)]
        found = iter(self._isolated(good, options, cuts, kind))
        return [item if isinstance(item, InputError) else next(found) for item in items]

    def _isolated(
        self, items: Sequence[Sent], options: Mapping[str, Any], cuts: Cuts, kind: type[InputError]
    ) -> list[Vectors | InputError]:
        """Where the server complains of an item, halves are sent, so that only that item fails."""
        if not items:
            return []
        try:
            return list(self._vectors(items, options))
        except ServerError as error:
            if error.code == _TOO_LONG and not options.get("truncate"):
                cuts.add_by_server()
                return self._isolated(items, {**options, "truncate": True}, cuts, kind)
            if not blames_items(error):
                raise
            if len(items) == 1:
                return [kind(str(error))]
        middle = len(items) // 2
        first, second = items[:middle], items[middle:]
        return [*self._isolated(first, options, cuts, kind), *self._isolated(second, options, cuts, kind)]

    def _vectors(self, items: Sequence[Sent], options: Mapping[str, Any]) -> Vectors:
        """(N, dim) of one request.

        Raises:
            ServerError: no answer, or one that cannot be right.
        """
        sent = {name: value for name, value in options.items() if value is not None}
        sent.setdefault("truncate", False)  # a server that cuts unasked would not say so
        body = {"model": self._asked_name, "input": list(items), "embedding_type": "base64", **sent}
        answer = self._transport.post("/embeddings", body)
        revision, expected = answer.headers.get("x-model-revision"), self._facts.get("fingerprint")
        if revision is not None and expected is not None and revision != expected:
            raise ServerError(
                f"{self._transport.url} now runs another model: expected revision {expected}, found {revision}; "
                "make a new RemoteEncoder, and do not mix their vectors"
            )
        try:
            data = sorted(answer.json()["data"], key=lambda each: each["index"])
            packed = [from_base64(each["embedding"]) for each in data]
            vectors = np.stack([np.frombuffer(each, "<f4") for each in packed]).astype(np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(
                f"{self._transport.url}: the answer is not one of this API: {type(error).__name__}"
            ) from error
        if vectors.shape != (wanted := (len(items), options["dimensions"])) or not np.isfinite(vectors).all():
            raise ServerError(f"{self._transport.url}: expected finite vectors {wanted}, found {vectors.shape}")
        return vectors

    def _read_card(self, model: str | None) -> dict[str, Any]:
        """What the server tells of the model, and what is known of it without."""
        listed = self._transport.get("/models").get("data")
        cards = {str(each["id"]): each for each in listed if isinstance(each, dict) and "id" in each}
        if model is None:
            runs = {card.get("runs", name) for name, card in cards.items()}
            if len(runs) != 1:
                raise ConfigError(
                    f"{self._transport.url} has {len(cards)} models; name one of {', '.join(sorted(cards))}"
                )
            model = next(iter(cards))
        card = {**_PUBLISHED.get(model, {}), **cards.get(model, {"id": model})}
        if "dimensions" not in card:
            known = ", ".join(sorted(cards)) or "no models"
            raise ConfigError(f"{self._transport.url} does not tell the width of {model!r}; it has {known}")
        return card


def _base(url: str) -> str:
    """The address with ``/v1`` at its end.

    Raises:
        ConfigError: it is no address of a server.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets without an IPv6 address, a port that is no number
        is_address = False
    if not is_address or parts.query or parts.username:
        raise ConfigError("expected the address of a server, like http://127.0.0.1:8080; a key is given as key=")
    return url.rstrip("/").removesuffix("/v1") + "/v1"


def _image_prepare(stated: Mapping[str, Any]) -> ImagePrepareConfig:
    """How images are prepared, as the server states it.

    Raises:
        ConfigError: a preparation that this version does not know.
    """
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stated.items()
    }
    try:
        return ImagePrepareConfig(**values)
    except TypeError as error:
        raise ConfigError(
            f"the server prepares images in a way that this babelclip does not know ({error}); update it, "
            "or send images whole with shrink_images=False"
        ) from error


def as_png(image: Image.Image) -> bytes:
    """The file that an image is sent as."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # lossless: the vector must not differ
    return file.getvalue()


def _joined(answers: Iterable[list[_Result] | Exception]) -> Iterator[_Result]:
    """Results of all requests, in order; what is no item's fault ends it."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
        yield from answer
