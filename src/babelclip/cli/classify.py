"""``babelclip classify``: name what is in an image, among labels in any language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from babelclip.cli.options import ModelOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from babelclip.cli.options import AnyEncoder

DEFAULT_PROMPT = "{}"


def classify(
    images: list[str],
    /,
    *,
    labels: str | None = None,
    labels_file: Path | None = None,
    prompt: list[str] | None = None,
    top: Annotated[int, Parameter(validator=Number(gte=1))] = 5,
    errors_to: Path | None = None,
    model: ModelOptions = ModelOptions(),
    json_lines: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say which label fits each image best.

    babelclip classify cat.jpg --labels cat,dog,car --prompt "a photo of a {}"

    The probabilities are a softmax over these labels with the model's own temperature: they add up to one even when no
    label fits, and they change when labels are added.

    Parameters
    ----------
    images
        Image files.
    labels
        The labels, with commas between them.
    labels_file
        A text file with one label per line, for many labels or such that contain commas.
    prompt
        A sentence with {} where the label goes; give it several times to average over prompts. The bare label when left
        out.
    top
        Show this many labels per image.
    errors_to
        List failed images in this file too, as JSON lines.
    json_lines
        One JSON object per image on stdout instead of a table.
    """
    from babelclip.cli.encode import FailureList, encode_all
    from babelclip.cli.items import from_arguments
    from babelclip.errors import ConfigError
    from babelclip.vectors import softmax

    names = read_labels(labels, labels_file)
    prompts = prompt or [DEFAULT_PROMPT]
    for sentence in prompts:
        if "{}" not in sentence:
            raise ConfigError(f'--prompt {sentence!r} has no {{}} where the label goes, as in "a photo of a {{}}"')
    encoder = model.open()
    if encoder.logit_scale is None:
        raise ConfigError(f"{encoder.name} has no image tower: it cannot classify images")
    with FailureList(errors_to) as failures:
        items, vectors = encode_all(encoder, from_arguments(images, "image"), failures)
    if items:
        scores = vectors @ label_vectors(encoder, names, prompts).T
        for item, row, chances in zip(items, scores, softmax(scores * encoder.logit_scale), strict=True):
            order = (-chances).argsort(kind="stable")[:top]
            show(item.index, item.shown, [(names[i], float(chances[i]), float(row[i])) for i in order], json_lines)
    return failures.exit_code(len(items))


def read_labels(labels: str | None, labels_file: Path | None) -> list[str]:
    """The labels in order, each once.

    Raises: ConfigError when none, or both sources, are given.
    """
    from babelclip.errors import ConfigError

    if (labels is None) == (labels_file is None):
        raise ConfigError("give the labels with --labels cat,dog,car or with --labels-file FILE (one label per line)")
    parts = labels.split(",") if labels is not None else labels_file.read_text(encoding="utf-8").splitlines()  # type: ignore[union-attr]
    names = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not names:
        raise ConfigError("there is no label: give at least one, as in --labels cat,dog,car")
    return names


def label_vectors(encoder: AnyEncoder, names: list[str], prompts: list[str]) -> NDArray[np.float32]:
    """One vector of length one per label: the mean over its prompts. (N, E)"""
    from babelclip.vectors import finish

    sentences = [sentence.replace("{}", name) for name in names for sentence in prompts]
    vectors = encoder.encode_text(sentences).reshape(len(names), len(prompts), encoder.dim)
    return finish(vectors.mean(axis=1), None, True)


def show(index: int, image: str, rows: list[tuple[str, float, float]], json_lines: bool) -> None:
    """One image and its labels (label, probability, cosine), best first."""
    if json_lines:
        found: list[dict[str, Any]] = [
            {"label": label, "probability": round(chance, 6), "score": round(score, 6)} for label, chance, score in rows
        ]
        print(json.dumps({"index": index, "input": image, "labels": found}, ensure_ascii=False))
        return
    print(image)
    for label, chance, _ in rows:
        print(f"  {chance:6.1%}  {label}")
