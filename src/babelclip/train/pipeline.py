"""A whole training run: texts, target space, text stage, features, image stage, model folders.

Everything lands in one output folder: ``log.jsonl``, ``train.png``, checkpoints and kept arrays, and at the end
``model`` (int8) and ``model-float32``. Each step looks for what it left behind, so a killed run is given again with
``--resume`` and goes on.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.checkpoint.folder import ModelFolder
from babelclip.checkpoint.quantized import dequantize_int4, quantize_int4
from babelclip.errors import ConfigError, DatasetError
from babelclip.towers.config import ConvTrunkConfig, DualConfig, TextTowerConfig, VisionTowerConfig
from babelclip.towers.dual import DualEncoder
from babelclip.towers.resize import resize_tower
from babelclip.towers.start import start_vision
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.artefacts import digest, english_vectors, pruned_vocabulary, target_space, token_table
from babelclip.train.caption_stage import CaptionSettings, CaptionStage
from babelclip.train.centering import center_images
from babelclip.train.class_moves import ClassMoves
from babelclip.train.curve import draw_curve
from babelclip.train.data.batches import TokenTable
from babelclip.train.data.shards import PhotoRecord, read_packs
from babelclip.train.data.texts import Corpus, held_out_photos, read_corpus, read_extra_captions
from babelclip.train.features import FeatureStore, Views, make_features, open_trunk
from babelclip.train.from_stored import start_classes, start_from_pooled
from babelclip.train.image_stage import ImageSettings, ImageStage, turn_projection
from babelclip.train.likeness import learn_likeness
from babelclip.train.loop import RunLog, Stage, run_stage
from babelclip.train.names import NameTargets, name_vectors, photo_logits
from babelclip.train.pretrained import ImageTrunk, initial_text_tensors, read_efficientnet_lite2, read_sentence_teacher
from babelclip.train.recipe import Recipe, StageRecipe
from babelclip.train.resume import has_state
from babelclip.train.sources import check_manifest, read_manifest
from babelclip.train.start_from import check_start, take_image_tower, take_text_tower, turn_space
from babelclip.train.still_images import rows_of_views, still_images
from babelclip.train.text_bank import TextBank
from babelclip.train.text_stage import TextStage
from babelclip.train.text_vectors import text_vectors
from babelclip.train.token_stage import TeacherTokens, TokenStage
from babelclip.train.vocabulary import read_tokenizer_json
from babelclip.train.write_model import write_model

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run reads: photos' records, texts, names of labels."""

    data: Path
    records: tuple[PhotoRecord, ...]
    held_out: frozenset[str]
    corpus: Corpus
    labels: dict[str, dict[str, str]]


def read_inputs(recipe: Recipe, data: Path) -> Inputs:
    """Read the data folder. Raises: DatasetError when something documented is missing."""
    records = tuple(record for record, _ in read_packs(data / "train", recipe.data.exclude_sources))
    held_out = held_out_photos(records, recipe.data.held_out_source, recipe.data.held_out_share)
    labels = data / "labels.json.gz"
    if not labels.is_file():
        raise DatasetError(f"{labels} is missing. Set --data or BABELCLIP_DATASETS to the folder that has it")
    with gzip.open(labels) as file:
        names = json.load(file)
    return Inputs(data, records, held_out, read_corpus(data, records, held_out), names)


def model_config(recipe: Recipe) -> DualConfig:
    """The towers' sizes out of the recipe; widths and heads are those of the pretrained parts."""
    model = recipe.model
    text = TextTowerConfig(
        vocab_size=model.vocabulary,
        width=384,
        num_layers=len(model.text_layers),
        num_heads=12,
        hidden=1536,
        embed_dim=384,
        rotary_base=model.rotary_base,
        projection=True,
    )
    trunk = ConvTrunkConfig.efficientnet_lite2(classes=1000)
    vision = VisionTowerConfig(
        image_size=model.image_size,
        width=384,
        num_layers=model.vision_layers,
        head_width=64,
        hidden=model.vision_hidden,
        patches=trunk,
        pretrained_grid=-(-recipe.features.size // trunk.stride),
    )
    return DualConfig(text=text, vision=vision, dims=model.dims)


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool,
    say: Say,
    start: ModelFolder | None = None,
    tensorboard: bool = False,
) -> Path:
    """Run a recipe from its data to a model folder, whose path is returned.

    ``start``: a finished model whose towers are trained on, each where it is the recipe's; the other is made anew. A
    text tower that is taken has its tokens behind it, an image tower its regions.

    Raises: ConfigError when ``out`` holds a run and ``resume`` is not given, or ``start`` has neither tower of the
    recipe; DatasetError when data are missing.
    """
    log_file = out / "log.jsonl"
    if log_file.is_file() and not resume:
        raise ConfigError(f"{out} already holds a run. Go on with --resume, or give another --out")
    config = model_config(recipe)
    if start is not None:
        check_start(start, config)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    say("reading the data")
    manifest = read_manifest(recipe.folder / recipe.data.sources)
    inputs = read_inputs(recipe, data)
    text_sources = {row.group.removesuffix("_prompt") for row in inputs.corpus.rows}
    check_manifest(manifest, {record.source for record in inputs.records}, text_sources)
    model = DualEncoder(config)
    run = _Run(recipe, inputs, out, RunLog(log_file, tensorboard=tensorboard), resume, say, start)
    tokenizer, table = train_text(model.text, run)
    train_image(model, tokenizer, table, run)
    draw_curve(log_file, out / "train.png")
    return write_model(
        model,
        name=recipe.model.name,
        max_tokens=recipe.model.max_tokens,
        languages=tuple(sorted({row.language for row in inputs.corpus.rows})),
        manifest=manifest,
        tokenizer_file=out / "tokenizer.json",
        out=out,
        int4_words=recipe.model.int4_words,
        say=say,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A run under way."""

    recipe: Recipe
    inputs: Inputs
    out: Path
    log: RunLog
    resume: bool
    say: Say
    start: ModelFolder | None

    def train(self, stage: Stage, plan: StageRecipe) -> None:
        """One stage, to the end of its budget."""
        self.say(f"{stage.name} stage")
        run_stage(stage, plan.budget, plan.optim, self.out, self.log, resume=self.resume)


def train_text(tower: TextTower, run: _Run) -> tuple[Tokenizer, TokenTable]:
    """The text stages with all that they need; returns the pruned tokenizer, and the corpus as its tokens."""
    recipe, inputs, out, say, start = run.recipe, run.inputs, run.out, run.say, run.start
    corpus = inputs.corpus
    path = Path(recipe.data.tokenizer)
    full = read_tokenizer_json(path if path.is_absolute() else inputs.data.parent / path)
    teacher = read_sentence_teacher()
    tokenizer = None if start is None else take_text_tower(start, tower, out)
    is_new = tokenizer is None
    if tokenizer is None:
        vocabulary = pruned_vocabulary(out, full, corpus, recipe.model.vocabulary, say)
        tokenizer = vocabulary.tokenizer()
        tensors = initial_text_tensors(teacher, vocabulary.kept, recipe.model.text_layers)
        tower.load_state_dict({**tower.state_dict(), **tensors}, strict=True)
    table = token_table(out, tokenizer, corpus, say)
    vectors = english_vectors(out, teacher, Tokenizer.from_str(full), corpus, say)
    turn = None if start is None else partial(turn_space, model=start)
    space = target_space(out, corpus, vectors, inputs.records, inputs.held_out, recipe.space.strength, turn)
    if is_new:
        asked = TeacherTokens(teacher, Tokenizer.from_str(full), recipe.model.text_layers)
        tokens = TokenStage(tower, tokenizer, asked, space, corpus.rows, table, recipe.tokens)
        run.train(tokens, recipe.tokens_run)
        tokens.finish()
    targets, dims = space(vectors), recipe.model.dims
    for name, settings, plan in (("text", recipe.text, recipe.text_run), ("names", recipe.names, recipe.names_run)):
        run.train(TextStage(tower, tokenizer, corpus, table, targets, dims, settings, name), plan)
        if recipe.model.int4_words and settings.words_rate:
            _store_words(tower)
    file = out / "likeness.pt"
    if not file.is_file():
        say("likeness of the scored pairs")
        torch.save(learn_likeness(tower, tokenizer, corpus.pairs, dims, recipe.likeness), file)
    turn_projection(tower, torch.load(file, weights_only=True))
    return tokenizer, table


@torch.no_grad()
def _store_words(tower: TextTower) -> None:
    """Word embeddings as int4 will hold them, so that all that is trained afterwards sees them as they will be."""
    words = tower.embeddings.word.weight
    words.copy_(torch.from_numpy(dequantize_int4(*quantize_int4(words.numpy()))))


def train_image(model: DualEncoder, tokenizer: Tokenizer, table: TokenTable, run: _Run) -> None:
    """The image stages against the texts, with the features that they need, and the captions against the images."""
    recipe, inputs, out, dims = run.recipe, run.inputs, run.out, run.recipe.model.dims
    assert model.vision is not None, "the recipe's model has an image tower"
    assert model.logit_scale is not None, "a model of two towers has a temperature"
    trunk, settings = read_efficientnet_lite2(), recipe.features
    store = _features(trunk, settings.size, settings.views, run)
    final_store = _features(trunk, recipe.model.image_size, settings.final_views, run)
    bank = TextBank.gather(inputs.records, read_extra_captions(inputs.data), inputs.labels)
    moves = ClassMoves(trunk.classifier_weight, trunk.classifier_bias)

    def images(
        name: str, settings: ImageSettings, tower: VisionTower, store: FeatureStore, texts: tuple[Tensor, NameTargets]
    ) -> ImageStage:
        return ImageStage(tower, store, bank, *texts, inputs.held_out, dims, settings, name, moves)

    def captions(name: str, settings: CaptionSettings, tower: VisionTower, store: FeatureStore) -> CaptionStage:
        run.say("vectors of the photos")
        still = still_images(tower, store, rows_of_views(store, settings.views), out / f"still-{name}.npy")
        held_out = inputs.held_out
        return CaptionStage(
            model.text, tokenizer, still, store, bank, inputs.corpus, table, held_out, dims, settings, name
        )

    start_tower(model, trunk.tensors, recipe.seed)
    is_new = run.start is None or not take_image_tower(run.start, model.vision)
    tower = resize_tower(model.vision, settings.size)
    texts = _texts_as_they_are(model.text, tokenizer, store, bank, run, "before")
    head = None
    if is_new:
        regions = images("regions", recipe.regions, tower, store, texts)
        if not has_state(out, "regions"):
            start_from_pooled(tower, *regions.warm_start_sample(8192))
            start_classes(tower, trunk.classifier_weight, trunk.classifier_bias, texts[1].names[0][1])
        run.train(regions, recipe.regions_run)
        head = regions.head.state_dict()
    maps = images("image", recipe.image, tower, store, texts)
    if head is not None:
        maps.head.load_state_dict(head)
    run.train(maps, recipe.image_run)
    turn_projection(model.text, maps.head.turn.data)

    run.train(captions("captions", recipe.captions, tower, store), recipe.captions_run)

    # More pixels at the end (Touvron et al. 2019): the tower as it is, its positions resized.
    model.vision.load_state_dict(resize_tower(tower, recipe.model.image_size).state_dict(), strict=True)
    texts = _texts_as_they_are(model.text, tokenizer, final_store, bank, run, "after")
    final = images("final", recipe.final, model.vision, final_store, texts)
    run.train(final, recipe.final_run)
    turn_projection(model.text, final.head.turn.data)

    last = captions("last", recipe.last, model.vision, final_store)
    run.train(last, recipe.last_run)
    model.logit_scale.data.copy_(last.head.log_scale.data)
    center_images(model.vision, last.images, recipe.centering)


def _features(trunk: ImageTrunk, size: int, views: Views, run: _Run) -> FeatureStore:
    """What is stored of the training photos at one size."""
    recipe, settings, folder = run.recipe, run.recipe.features, run.out / f"features-{size}"
    folder.mkdir(exist_ok=True)
    run.say(f"feature maps of the training photos, {size} pixels")
    return make_features(
        run.inputs.data / "train",
        folder,
        open_trunk(trunk, settings.engine, size, settings.block, folder),
        size=size,
        block=settings.block,
        exclude_sources=recipe.data.exclude_sources,
        views=views,
        threads=settings.threads,
        progress=lambda done, total: run.say(f"  {done} of {total} views") if done % 20480 == 0 else None,
    )


def _texts_as_they_are(
    tower: TextTower, tokenizer: Tokenizer, store: FeatureStore, bank: TextBank, run: _Run, when: str
) -> tuple[Tensor, NameTargets]:
    """Vectors of the bank's texts and of the classes' names. when: "before" or "after" the caption stage."""
    texts = [text.text for text in bank.texts]
    names_of = [f"{label} {kind} {name}" for label, by in run.inputs.labels.items() for kind, name in by.items()]
    bank_file = run.out / f"bank-{when}-{digest(texts)}.npy"  # other texts, another file
    names_file = run.out / f"names-{when}-{digest(names_of)}.pt"
    if not bank_file.is_file():
        run.say(f"vectors of {len(texts)} texts")
        vectors = text_vectors(tower, tokenizer, texts)
        np.save(bank_file, vectors.numpy().astype(np.float16))
    if not names_file.is_file():
        run.say("vectors of the names")
        torch.save(name_vectors(tower, tokenizer, run.inputs.labels), names_file)
    names = tuple(torch.load(names_file, weights_only=True))
    return torch.from_numpy(np.load(bank_file)).float(), NameTargets(photo_logits(store), names)


def start_tower(model: DualEncoder, trunk: Mapping[str, Tensor], seed: int) -> None:
    """Fresh blocks, the pretrained trunk."""
    assert model.vision is not None
    torch.manual_seed(seed)
    start_vision(model.vision)
    state = {f"patches.trunk.{name}": tensor for name, tensor in trunk.items()}
    unexpected = model.vision.load_state_dict(state, strict=False).unexpected_keys
    assert not unexpected, f"trunk tensors without a place: {unexpected}"
