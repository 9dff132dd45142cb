"""``babelclip classify``: name what is in an image, among labels in any language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from babelclip.cli.options import TOP, ErrorsToOption, IndexOption, InsideOption, JsonOption, ModelOptions, group_for
from babelclip.cli.plain_output import on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from babelclip.cli.options import AnyEncoder
    from babelclip.search.store import Row

DEFAULT_PROMPT = "{}"
_STEP = 2048  # indexed photos that are held at once
INDEXED = Parameter(group=group_for("Index", "--indexed"))


def classify(
    images: list[str] | None = None,
    /,
    *,
    indexed: Annotated[bool, INDEXED] = False,
    index: Annotated[IndexOption, INDEXED] = None,
    inside: Annotated[InsideOption, INDEXED] = (),
    labels: str | None = None,
    labels_file: Path | None = None,
    prompt: list[str] | None = None,
    top: Annotated[int, TOP] = 5,
    errors_to: ErrorsToOption = None,
    model: ModelOptions = ModelOptions(),
    json_lines: JsonOption = False,
) -> int:
    """Say which label fits each image best.

    babelclip classify cat.jpg --labels cat,dog,car --prompt "a photo of a {}"

    babelclip classify --indexed --in ~/Photos/2024 --labels people,food,places,documents --top 1 --json

    The probabilities are a softmax over these labels with the model's own temperature: they add up to one even when no
    label fits, and they change when labels are added.

    Args:
        images: Image files.
        indexed: Take the photos of the index instead, whose vectors are there already; of those in the folders of --in.
        labels: The labels, with commas between them.
        labels_file: A text file with one label per line, for many labels or such that contain commas.
        prompt: A sentence with {} where the label goes; give it several times to average over prompts. The bare label
            when left out.
        top: Show so many, best first: labels of each image.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per image.
    """
    from numpy import stack

    from babelclip.cli.encode import FailureList, encode_all
    from babelclip.cli.items import from_arguments
    from babelclip.errors import ConfigError
    from babelclip.vectors import finish, softmax

    names = read_labels(labels, labels_file)
    prompts = prompt or [DEFAULT_PROMPT]
    for sentence in prompts:
        if "{}" not in sentence:
            raise ConfigError(f'--prompt {sentence!r} has no {{}} where the label goes, as in "a photo of a {{}}"')
    if indexed == bool(images):
        raise ConfigError("name image files, or give --indexed to take the photos of the index (--index, --in)")
    encoder = model.open()
    logit_scale = encoder.logit_scale
    if logit_scale is None:
        raise ConfigError(f"{encoder.name} has no image tower: it cannot classify images")
    label_rows = label_vectors(encoder, names, prompts)

    def tell(numbers: Iterable[int], shown: Iterable[str], vectors: NDArray[np.float32]) -> None:
        scores = vectors @ finish(label_rows, vectors.shape[1]).T
        for number, image, row, chances in zip(numbers, shown, scores, softmax(scores * logit_scale), strict=True):
            order = (-chances).argsort(kind="stable")[:top]
            _show(number, image, [(names[i], float(chances[i]), float(row[i])) for i in order], json_lines)

    if indexed:
        for first, rows in indexed_photos(index, encoder, inside):
            paths = [str(row.metadata["path"]) for row in rows]
            tell(range(first, first + len(rows)), paths, stack([row.vector for row in rows]))
        return 0
    with FailureList(errors_to) as failures:
        items, vectors = encode_all(encoder, from_arguments(images or [], "image"), failures)
    if items:
        tell([item.index for item in items], [item.shown for item in items], vectors)
    return failures.exit_code(len(items))


def indexed_photos(url: str | None, encoder: AnyEncoder, inside: tuple[Path, ...]) -> Iterator[tuple[int, list[Row]]]:
    """The photos of an index, some at a time, each time with the number of the first.

    Raises:
        ModelDiffers: the index is another model's.
    """
    from itertools import count, islice

    from babelclip.cli.filters import check_on_index, lies_in
    from babelclip.search.filters import And, Eq, Filter
    from babelclip.search.index import Index
    from babelclip.search.open_store import index_url

    chosen: Filter = Eq("kind", "image")
    folders = lies_in(inside)
    with Index.open(index_url(url), encoder) as opened:
        check_on_index(opened, folders, inside)
        store = opened.store()
        rows = iter(()) if store is None else store.rows(chosen if folders is None else And((chosen, folders)))
        for first in count(0, _STEP):
            part = list(islice(rows, _STEP))
            if not part:
                return
            yield first, part


def read_labels(labels: str | None, labels_file: Path | None) -> list[str]:
    """The labels in order, each once.

    Raises:
        ConfigError: no source is given, or both are, or it has no label.
    """
    from babelclip.cli.items import read_lines
    from babelclip.errors import ConfigError

    if (labels is None) == (labels_file is None):
        raise ConfigError("give the labels with --labels cat,dog,car or with --labels-file FILE (one label per line)")
    parts = read_lines(labels_file) if labels_file is not None else (labels or "").split(",")
    names = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not names:
        raise ConfigError("there is no label: give at least one, as in --labels cat,dog,car")
    return names


def label_vectors(encoder: AnyEncoder, names: list[str], prompts: list[str]) -> NDArray[np.float32]:
    """One vector of length one per label, the mean over all prompts of it. Shape (N, E)."""
    from babelclip.vectors import finish

    sentences = [sentence.replace("{}", name) for name in names for sentence in prompts]
    vectors = encoder.encode_text(sentences).reshape(len(names), len(prompts), encoder.dim)
    return finish(vectors.mean(axis=1), None, True)


def _show(index: int, image: str, rows: list[tuple[str, float, float]], json_lines: bool) -> None:
    """One image and its labels (label, probability, cosine), best first."""
    if json_lines:
        found: list[dict[str, Any]] = [
            {"label": label, "probability": round(chance, 6), "score": round(score, 6)} for label, chance, score in rows
        ]
        print(json.dumps({"index": index, "input": image, "labels": found}, ensure_ascii=False))
        return
    print(on_one_line(image))
    for label, chance, _ in rows:
        print(f"  {chance:6.1%}  {on_one_line(label)}")
