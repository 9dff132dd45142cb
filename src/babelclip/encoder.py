"""What people hold: an encoder turns texts and images into vectors of one space.

``encode_*`` = prepare (texts to ids, images to pixels), run (a tower), finish (cut, normalize). Items travel in groups
of bounded size: texts sorted by length under a token budget, images decoded by threads while the model runs. Order is
kept, and an item that fails costs only itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.bundled import bundled_folder
from babelclip.checkpoint.fetch import open_folder
from babelclip.checkpoint.folder import read_logit_scale
from babelclip.errors import ConfigError, FolderError, ImageError, InputError, TextError
from babelclip.item_encoder import Call, ItemEncoder, checked
from babelclip.prepare.ahead import prepare_ahead, windows
from babelclip.prepare.cuts import Cuts
from babelclip.prepare.damages import Damages
from babelclip.prepare.image import ImagePreparer, stack
from babelclip.prepare.length_batches import batches_by_length
from babelclip.prepare.open_image import ImageLimits, ImageSource, short_name
from babelclip.prepare.text import TextPreparer
from babelclip.runtime.choose import RuntimeName, open_runtime
from babelclip.runtime.isolate import as_input_error, run_isolated
from babelclip.runtime.runtime import KeepsMemory, Runtime
from babelclip.score_calibration import ScoreCalibration, read_calibration
from babelclip.vectors import finish

WINDOW = 1024
"""Texts that are held and sorted by length at once."""
WINDOW_CHARACTERS = 2**22
"""... or fewer, where they are long."""
CPU_BUDGET = (1024, 64, 16, 8 * 224 * 224)
"""Tokens, texts, padding tokens and pixels (of one channel) of a batch on the CPU; larger ones gain nothing there."""
DEVICE_BUDGET = (16384, 512, 2048, 64 * 224 * 224)
"""The same on other devices."""
PREPARING_THREADS = 4
"""Threads that decode images; each may hold one decoded photo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """By what an encoder was opened, so that another process can open the same one."""

    source: str | None  # a folder, or a model's name on the hub; None: the bundled model
    runtime: RuntimeName
    device: str | None
    dtype: str | None
    threads: int | None
    revision: str | None  # the very commit, of a model on the hub


@dataclass(frozen=True, slots=True)
class _Finish:
    """What a call does with raw vectors."""

    dim: int
    normalize: bool


@dataclass(frozen=True, slots=True)
class _PreparedImage:
    """An image as the model sees it."""

    pixels: NDArray[np.float32]  # (3, S, S)
    damage: str | None
    name: str  # of a damaged one, for a warning


class Encoder(ItemEncoder):
    """Texts and images to vectors.

    Threads may share one encoder; it holds no state between calls. A copy, deep or not, shares its towers. What is
    pickled, as for a worker that is spawned, is where it was opened from: there it is opened again with the same
    settings, and refused where the model is not the very same.
    """

    def __init__(
        self,
        *,
        name: str,
        runtime: Runtime,
        text_preparer: TextPreparer,
        image_preparer: ImagePreparer | None,
        dims: Sequence[int],
        logit_scale: float | None = None,
        facts: Mapping[str, str | int | None] | None = None,
        calibration: ScoreCalibration | None = None,
        opened: Opened | None = None,
    ) -> None:
        """A model from its parts; ``babelclip.load`` opens one from a folder.

        Args:
            name: of the model.
            runtime: runs the towers.
            text_preparer: texts to token ids.
            image_preparer: images to pixels; None for a model that embeds texts only.
            dims: the widths that the model was trained for, ascending; the last is the width of its vectors.
            logit_scale: what the model multiplies cosines of a text and an image by, before a softmax.
            facts: what else ``facts()`` shall tell.
            calibration: what the model's scores mean.
            opened: by what another process could open it; None where none could.
        """
        self.name = name
        self.dims = tuple(dims)
        self.dim = self.dims[-1]
        self.logit_scale = logit_scale
        self.calibration = calibration
        self._opened = opened
        self._runtime = runtime
        self.text_preparer = text_preparer
        self.image_preparer = image_preparer
        self._facts = dict(facts or {})
        on_cpu = runtime.facts().get("device") == "cpu"
        self._token_budget, self._max_rows, self._most_padding, pixels = CPU_BUDGET if on_cpu else DEVICE_BUDGET
        side = self.image_size
        self._image_batch = 1 if side is None else max(1, min(64, pixels // side**2))

    @property
    def max_tokens(self) -> int:
        """The model's whole context in tokens, special tokens included."""
        return self.text_preparer.config.max_tokens

    @property
    def image_size(self) -> int | None:
        """Side in pixels of the square that the model sees; None where it embeds texts only."""
        return None if self.image_preparer is None else self.image_preparer.config.size

    def __copy__(self) -> Encoder:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, object]) -> Encoder:
        return copy(self)

    def __reduce__(self) -> tuple[object, ...]:
        if self._opened is None:
            raise ConfigError(
                f"the encoder {self.name!r} was not opened from a model folder, so no other process can open it: "
                "write the model to a folder and let the other process load that"
            )
        return _open_again, (self._opened, self._facts.get("fingerprint"), self.image_preparer)

    def upright(self) -> Encoder:
        """The same, but that images are as a viewer shows them, whatever the model's preparation does.

        Photos are turned as their EXIF data say, what is transparent is on white, colors go by the file's profile.
        """
        if self.image_preparer is None:
            return self
        turned = copy(self)
        turned.image_preparer = self.image_preparer.upright()
        return turned

    def facts(self) -> dict[str, str | int | None]:
        """Model, revision, runtime, device, dtype, threads and more, as they really are."""
        return {"model": self.name, **self._facts, "dim": self.dim, **self._runtime.facts()}

    def free_memory(self) -> None:
        """Let go of what the runtime keeps from its largest batch for the next one."""
        if isinstance(self._runtime, KeepsMemory):
            self._runtime.free_memory()

    def tokenize(self, texts: str | Iterable[str], *, task: str | None = None) -> list[list[int]]:
        """Token ids of each text with its task's instruction and special tokens, cut to ``max_tokens`` as they run."""
        chosen = [texts] if isinstance(texts, str) else list(texts)
        return self.text_preparer.tokenize(chosen, task, None).token_ids

    def close(self) -> None:
        """Nothing is held open that would have to be closed."""

    def _call(self, task: str | None, dim: int | None, normalize: bool, max_tokens: int | None) -> Call:
        nothing = np.empty((0, self.dim), np.float32)
        end = _Finish(finish(nothing, dim).shape[1], normalize)  # a width that is wrong is wrong before any work
        self.text_preparer.tokenize([], task, max_tokens)  # and so is an option of every text
        cuts, damages = Cuts(), Damages()
        return Call(
            end.dim,
            lambda texts: self._texts(texts, end, task, max_tokens, cuts),
            lambda images: self._images(images, end, damages),
            cuts,
            damages,
        )

    def _texts(
        self, texts: Iterable[object], end: _Finish, task: str | None, max_tokens: int | None, cuts: Cuts
    ) -> Iterator[Vectors | InputError]:
        """One result a text, in order; a window at a time."""

        def tokenize(part: Sequence[str]) -> Sequence[list[int]]:
            tokenized = self.text_preparer.tokenize(part, task, max_tokens)
            cuts.add(tokenized)
            return tokenized.token_ids

        def run(part: Sequence[list[int]]) -> Sequence[Vectors]:
            return list(self._runtime.run_text(self.text_preparer.batch(part, task)))

        for window in windows(texts, WINDOW, WINDOW_CHARACTERS):
            ids = run_isolated(tokenize, [checked(text) for text in window])
            lengths = [0 if isinstance(item, Exception) else len(item) for item in ids]
            results: dict[int, Vectors | InputError] = {}
            for batch in batches_by_length(lengths, self._token_budget, self._max_rows, self._most_padding):
                rows = run_isolated(run, [ids[position] for position in batch])
                results.update(
                    (position, _finished(row, end, TextError)) for position, row in zip(batch, rows, strict=True)
                )
            yield from (results[position] for position in range(len(window)))

    def _images(self, images: Iterable[object], end: _Finish, damages: Damages) -> Iterator[Vectors | InputError]:
        """One result an image, in order; a batch at a time, while threads decode the next."""
        preparer = self.image_preparer
        assert preparer is not None, "the caller has looked"

        def prepare(source: ImageSource) -> _PreparedImage:
            crop = preparer.crop_picture(source)
            return _PreparedImage(
                preparer.normalize(crop.square), crop.damage, "" if crop.damage is None else short_name(source)
            )

        def run(part: Sequence[_PreparedImage]) -> Sequence[Vectors]:
            return list(self._runtime.run_images(stack([image.pixels for image in part])))

        sources = cast("Iterable[ImageSource]", images)
        ahead = 2 * self._image_batch + PREPARING_THREADS
        prepared = prepare_ahead(prepare, sources, workers=PREPARING_THREADS, ahead=ahead)
        while group := list(islice(prepared, self._image_batch)):
            for image, row in zip(group, run_isolated(run, group), strict=True):
                if isinstance(image, Exception):
                    damages.note(None, "")
                else:
                    damages.note(image.damage, image.name)
                yield _finished(row, end, ImageError)


def open_encoder(
    source: str | Path | None,
    *,
    runtime: RuntimeName = "auto",
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    revision: str | None = None,
    image_limits: ImageLimits | None = None,
) -> Encoder:
    """The encoder of a model folder, of a model on the hub, or the bundled one. See ``babelclip.load``."""
    folder = open_folder(bundled_folder() if source is None else source, revision=revision)
    fingerprint = folder.fingerprint()
    from_hub = folder.revision is not None
    opened = Opened(
        source=None if source is None else str(source) if from_hub else str(folder.path.absolute()),
        runtime=runtime,
        device=device,
        dtype=dtype,
        threads=threads,
        revision=folder.revision,
    )
    return Encoder(
        name=folder.name,
        runtime=open_runtime(folder, runtime, device, dtype, threads),
        text_preparer=TextPreparer(folder.tokenizer_file, folder.text_prepare),
        image_preparer=None if folder.image_prepare is None else ImagePreparer(folder.image_prepare, image_limits),
        dims=folder.config.dims,
        logit_scale=read_logit_scale(folder),
        facts={"revision": folder.revision, "fingerprint": fingerprint},
        calibration=read_calibration(folder.path, fingerprint),
        opened=opened,
    )


def _open_again(opened: Opened, fingerprint: object, preparer: ImagePreparer | None) -> Encoder:
    """What a pickled encoder becomes.

    Raises:
        FolderError: the model that lies here is another one.
    """
    encoder = open_encoder(**asdict(opened))
    found = encoder.facts().get("fingerprint")
    if found != fingerprint:
        raise FolderError(
            f"an encoder was sent to this process, but {opened.source or 'the bundled model'} here is another model: "
            f"expected fingerprint {fingerprint}, found {found}. Bring the same model here"
        )
    encoder.image_preparer = preparer  # limits, and how photos are turned, may have been chosen
    return encoder


def _finished(row: Vectors | Exception, end: _Finish, kind: type[InputError]) -> Vectors | InputError:
    """Raw vector (E,) -> (dim,)."""
    if isinstance(row, Exception):
        return as_input_error(row, kind)
    if not np.isfinite(row).all():
        return kind("the model gave a vector with NaN or infinity for it; `babelclip model verify` checks the weights")
    vector: Vectors = finish(row[None], end.dim, end.normalize)[0]
    return vector
