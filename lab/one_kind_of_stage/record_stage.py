"""One stage of the old trainer, twenty steps, with all that is needed to run them again without its data.

In a folder of its own: ``meta.json`` (settings, configurations, kinds of inputs), ``losses.json`` (every figure of
every step), ``initial``, ``fixed`` and ``final.safetensors`` (state, what all steps share, what was trained), and
``steps/NN.safetensors``: inputs ``part.N.rows.M``, labels ``label.*``, of the first step also the towers' vectors.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from babelclip.train.batch import Batch
from babelclip.train.loop import Budget, Engine, Stage, _Run
from babelclip.train.optim import OptimSettings, learning_rate
from babelclip.train.spread import Ranks
from safetensors.torch import save_file
from torch import Tensor

STEPS = 20
Tensors = dict[str, Tensor]
Labels = Callable[[Stage, int, Batch], Tensors]


def say(line: str) -> None:
    """To whoever waits."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def plain(value: Any) -> Any:
    """Numbers as JSON holds them: floats by repr, exact."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as they are at this moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    save_file(dict(sorted(kept.items())), path)


def state_of(stage: Stage) -> Tensors:
    """Of ``module`` and ``head``."""
    towers = {f"module.{name}": tensor for name, tensor in stage.module.state_dict().items()}
    return towers | {f"head.{name}": tensor for name, tensor in stage.head.state_dict().items()}


def trained_of(stage: Stage) -> list[str]:
    """In the order in which the old engine hands them to the optimizer."""
    return [
        f"{where}.{name}"
        for where, module in (("module", stage.module), ("head", stage.head))
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    ]


def digest(tensor: Tensor) -> str:
    """Of its bytes."""
    return hashlib.sha256(tensor.detach().contiguous().cpu().numpy().tobytes()).hexdigest()


def record(
    stage: Stage,
    optim: OptimSettings,
    folder: Path,
    meta: Mapping[str, Any],
    fixed: Mapping[str, Tensor],
    labels_of: Labels,
    tokenizer: str | None,
) -> None:
    """Twenty steps of the old engine; batch, labels and every figure of each."""
    say(f"{folder.name}: {STEPS} steps")
    folder.mkdir(parents=True)
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer)
    save(folder / "initial.safetensors", state_of(stage))
    if fixed:
        save(folder / "fixed.safetensors", fixed)
    drawn: list[Batch] = []
    vectors_first: list[Tensor] = []
    own_draw, own_loss = stage.draw, stage.loss

    def draw(step: int, ranks: Ranks) -> Batch:
        drawn.append(own_draw(step, ranks))
        return drawn[-1]

    def loss(vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if not vectors_first:
            vectors_first.extend(vectors)
        return own_loss(vectors, batch)

    stage.draw, stage.loss = draw, loss  # type: ignore[method-assign]
    run = _Run(stage, optim, Engine(), folder / "unused")
    budget, losses, parts = Budget(steps=STEPS), [], []
    trained = trained_of(stage)
    for step in range(STEPS):
        rate = learning_rate(optim, budget.progress(run.counters.step, run.counters.seconds))
        total, figures = run.step(rate)
        assert figures["rate"] == rate
        losses.append({"step": step, "loss": total, **figures})
        batch = drawn[-1]
        tensors: Tensors = {}
        for place, part in enumerate(batch.parts):
            for number, rows in enumerate(part.rows):
                tensors[f"part.{place}.rows.{number}"] = rows
            if part.keep is not None:
                tensors[f"part.{place}.keep"] = part.keep
        tensors |= {f"label.{name}": tensor for name, tensor in labels_of(stage, step, batch).items()}
        if step == 0:
            tensors |= {f"vectors.{place}": vectors for place, vectors in enumerate(vectors_first)}
        save(folder / "steps" / f"{step:02d}.safetensors", tensors)
        parts.append([{"kind": part.kind, "number": part.number} for part in batch.parts])
    (folder / "losses.json").write_text(json.dumps(plain(losses), indent=1))
    final = state_of(stage)
    save(folder / "final.safetensors", {name: final[name] for name in trained})
    if run.average is not None:
        save(folder / "average.safetensors", run.average.kept)
    whole = {
        "stage": type(stage).__name__,
        "name": stage.name,
        "steps": STEPS,
        "optim": asdict(optim),
        "betas": [0.9, 0.98],
        "rates": dict(stage.rates),
        "trained": trained,
        "parts": parts,
        "final_sha256": {name: digest(tensor) for name, tensor in final.items()},
        **meta,
    }
    (folder / "meta.json").write_text(json.dumps(plain(whole), indent=1))


# ---------------------------------------------------------------- labels, as tensors


def token_labels(stage: Any, step: int, batch: Batch) -> Tensors:
    """Of the token stage."""
    labels = batch.labels
    return {
        "rows": torch.from_numpy(stage._sampler.draw(step)),
        "ours": labels.segments.ours,
        "theirs": labels.segments.theirs,
        "number": torch.tensor(labels.segments.number),
        "means": labels.means,
        "wholes": labels.wholes,
        "mask": labels.mask,
    }


def text_labels(stage: Any, step: int, batch: Batch) -> Tensors:
    """Of both text stages."""
    found = {"rows": torch.from_numpy(stage._sampler.draw(step)), "targets": batch.labels.targets}
    if batch.labels.scores is not None:
        found["scores"] = batch.labels.scores
    return found


def image_labels(stage: Any, step: int, batch: Batch) -> Tensors:
    """Of the image stage, with the keys that its contrast compared."""
    labels = batch.labels
    photos = stage._store.photos[labels.rows]
    texts = labels.texts
    return {
        "rows": torch.from_numpy(labels.rows),
        "photos": torch.from_numpy(photos),
        "texts": torch.from_numpy(texts),
        "languages": torch.from_numpy(labels.languages),
        "meanings": torch.from_numpy(stage._bank.meanings[texts]),
        "wordings": torch.from_numpy(stage._bank.wordings[texts]),
        "means": stage._means[photos],
        "logits": stage._targets.logits[photos],
    }


def caption_labels(stage: Any, step: int, batch: Batch) -> Tensors:
    """Of the caption stage."""
    settings, labels, store = stage._settings, batch.labels, stage._store
    generator = np.random.default_rng([settings.seed, step])  # the stage's own draw once more: it keeps no rows
    rows = stage._draw.rows(settings.batch_size, generator)
    rows = rows[np.unique(store.photos[rows], return_index=True)[1]]
    places = stage._bank.draw(store.photos[rows], generator, settings.english_share)
    by_length = np.argsort(stage._captions.lengths[places], kind="stable")
    rows, places = rows[by_length], places[by_length]
    others = stage._negatives.rows(settings.bank_size, generator)
    assert np.array_equal(stage._bank.meanings[places], labels.meanings)
    found = {
        "rows": torch.from_numpy(np.concatenate([rows, others])),
        "places": torch.from_numpy(places),
        "images": labels.images,
        "meanings": torch.from_numpy(labels.meanings),
        "image_meanings": torch.from_numpy(labels.image_meanings),
        "held": labels.held,
        "held_rows": torch.from_numpy(stage._held.draw(step)),
    }
    assert torch.equal(stage.images.of(found["rows"].numpy()), labels.images)
    if labels.scores is not None:
        found["scores"] = labels.scores
    return found


def contrast_labels(stage: Any, step: int, batch: Batch) -> Tensors:
    """Of the contrastive stage, with what its towers make patches of in place of crops."""
    found: Tensors = {}
    for place, (task, labels) in enumerate(zip(stage._tasks, batch.labels, strict=True)):
        mixture = stage.collator._mixtures[place]
        found[f"{task.name}.rows"] = torch.tensor(mixture.draw(step, task.settings.batch))
        found[f"{task.name}.keys"] = labels.keys
        if labels.scores is not None:
            found[f"{task.name}.scores"] = labels.scores
    for place, part in enumerate(batch.parts):
        if part.kind == "image" and stage._features is None:
            found[f"pixels.{place}"] = stage.collator.pixels(part.rows[0])
        elif part.kind == "image":
            found[f"features.{place}"] = stage._features(part.rows[0])
    return found
