"""The model folder on disk: three known layouts, read into one `ModelFolder`; our own is written here.

babelclip            config.json  preprocessing.json  model.safetensors  tokenizer.json  README.md  checksums.json
jina_clip            config.json  model.safetensors (or shards and their index)  tokenizer.json
jina_embeddings_v3   [tokenizer_config.json]  [preprocessor_config.json]
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from babelclip.atomic_write import atomic_folder, write_json, write_text
from babelclip.checkpoint.card import CardFacts, make_card
from babelclip.checkpoint.checksums import fingerprint, write_checksums
from babelclip.checkpoint.names import Layout, match_tensors, tensor_specs
from babelclip.checkpoint.own_config import (
    MODEL_TYPE,
    config_from_json,
    config_to_json,
    preprocessing_from_json,
    preprocessing_to_json,
)
from babelclip.checkpoint.published_config import (
    layout_of,
    read_clip_config,
    read_embeddings_config,
    read_image_prepare,
)
from babelclip.checkpoint.quantized import SCALE_SUFFIX, quantize_int4, quantize_int8
from babelclip.checkpoint.weights import (
    StoredTensor,
    TensorEntry,
    read_float32,
    read_header,
    to_stored,
    write_safetensors,
)
from babelclip.decode import parse_json
from babelclip.errors import ConfigError, FolderError, WeightsError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import DualConfig

CONFIG, PREPROCESSING, CARD, TOKENIZER = "config.json", "preprocessing.json", "README.md", "tokenizer.json"
NOTICE = "NOTICE"
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_CONFIG, PREPROCESSOR_CONFIG = "tokenizer_config.json", "preprocessor_config.json"


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """What a model folder holds; the weights stay on disk."""

    path: Path
    layout: Layout
    name: str
    revision: str | None  # commit that the files were fetched at
    config: DualConfig
    text_prepare: TextPrepareConfig
    image_prepare: ImagePrepareConfig | None
    tokenizer_file: Path
    weight_files: tuple[Path, ...]
    config_files: tuple[Path, ...]  # those that the fields above were read from

    def fingerprint(self) -> str:
        """What the model is, in 32 hex digits: a digest of everything that can change a vector, and of nothing else.

        That is: configuration, preprocessing, tokenizer and weights. Digests of large files are remembered, so only
        the first call reads the weights.
        """
        return fingerprint([*self.config_files, self.tokenizer_file, *self.weight_files])

    def tensor_index(self) -> dict[str, TensorEntry]:
        """Our name -> place on disk, for every tensor of the model (and the scales of quantized ones).

        Raises:
            WeightsError: a broken file, or tensors that are missing, left over or of another shape, all listed.
        """
        found: dict[str, TensorEntry] = {}
        for file in self.weight_files:
            for name, entry in read_header(file).items():
                if name in found:
                    raise WeightsError(f"{name} is in both {found[name].file.name} and {file.name}")
                found[name] = entry
        return match_tensors(tensor_specs(self.config, self.layout), found, str(self.path))


# ---------------------------------------------------------------- reading


def read_folder(path: str | Path, *, name: str | None = None, revision: str | None = None) -> ModelFolder:
    """Read a model folder of any known layout; `name` and `revision` are those it was fetched under.

    Raises:
        FolderError: not a model folder, or a file is missing or unreadable.
        ConfigError: an option that is unknown, missing or not supported, named.
        WeightsError: the index of sharded weights names files that are not there.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise FolderError(f"{path} is not a folder" if path.exists() else f"there is no folder {path}")
    config = _read_json(path / CONFIG)
    if config is None:
        raise FolderError(f"{path} has no {CONFIG}, so it is not a model folder")
    read = _read_own if config.get("model_type") == MODEL_TYPE else _read_published
    folder = read(path, config)
    if not folder.tokenizer_file.is_file():
        raise FolderError(f"{path} has no {TOKENIZER}, which every layout needs (no sentencepiece model replaces it)")
    return replace(folder, name=name or folder.name, revision=revision)


def _read_own(path: Path, config: Mapping[str, Any]) -> ModelFolder:
    name, dual = config_from_json(config)
    preprocessing = _read_json(path / PREPROCESSING)
    if preprocessing is None:
        raise FolderError(f"{path} has no {PREPROCESSING}")
    text, image = preprocessing_from_json(preprocessing)
    check_agreement(dual, text, image)
    return _folder(path, MODEL_TYPE, name, dual, text, image, (PREPROCESSING,))


def _read_published(path: Path, config: Mapping[str, Any]) -> ModelFolder:
    layout = layout_of(config)
    tokenizer = _read_json(path / TOKENIZER_CONFIG)
    if layout == "jina_embeddings_v3":
        dual, text = read_embeddings_config(config, tokenizer)
        return _folder(path, layout, path.resolve().name, dual, text, None, (TOKENIZER_CONFIG,))
    dual, text = read_clip_config(config, tokenizer)
    assert dual.vision is not None
    image = read_image_prepare(_read_json(path / PREPROCESSOR_CONFIG), dual.vision.image_size)
    others = (TOKENIZER_CONFIG, PREPROCESSOR_CONFIG)
    return _folder(path, layout, path.resolve().name, dual, text, image, others)


def _folder(
    path: Path,
    layout: Layout,
    name: str,
    dual: DualConfig,
    text: TextPrepareConfig,
    image: ImagePrepareConfig | None,
    others: tuple[str, ...],
) -> ModelFolder:
    """The model folder.

    Args:
        others: names of the files beside config.json that were read; published ones may be absent.
    """
    return ModelFolder(
        path=path,
        layout=layout,
        name=name,
        revision=None,
        config=dual,
        text_prepare=text,
        image_prepare=image,
        tokenizer_file=path / TOKENIZER,
        weight_files=_weight_files(path),
        config_files=tuple(path / file for file in (CONFIG, *others) if (path / file).is_file()),
    )


def _weight_files(path: Path) -> tuple[Path, ...]:
    """model.safetensors, or the shards that its index names."""
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    index = _read_json(path / WEIGHTS_INDEX)
    if index is None:
        others = [file.name for file in path.iterdir() if file.suffix in (".bin", ".pt", ".onnx")]
        hint = f" (it has {', '.join(sorted(others))}, which babelclip does not read)" if others else ""
        raise FolderError(f"{path} has neither {WEIGHTS} nor {WEIGHTS_INDEX}{hint}")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FolderError(f"{path / WEIGHTS_INDEX} has no weight_map")
    if not all(isinstance(name, str) for name in weight_map.values()):
        raise FolderError(f"{path / WEIGHTS_INDEX} has a weight_map that names no files")
    names = sorted(set(weight_map.values()))
    if any(Path(name).name != name or not name.isprintable() for name in names):
        raise FolderError(f"{path / WEIGHTS_INDEX} names files outside the folder: {', '.join(names)}")
    absent = [name for name in names if not (path / name).is_file()]
    if absent:
        raise WeightsError(f"{path} lacks {', '.join(absent)}, which {WEIGHTS_INDEX} names: fetch or copy them again")
    return tuple(path / name for name in names)


def _read_json(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None where there is no file."""
    if not file.is_file():
        return None
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FolderError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise FolderError(f"{file} should hold a JSON object, not {type(content).__name__}")
    return content


def check_agreement(config: DualConfig, text: TextPrepareConfig, image: ImagePrepareConfig | None) -> None:
    """Preprocessing and towers must speak of the same model.

    Raises:
        ConfigError: names both values in conflict.
    """
    adapters = config.text.adapters.tasks if config.text.adapters is not None else ()
    if text.adapters != adapters:
        raise ConfigError(f"preprocessing: adapters {list(text.adapters)}, but the text tower has {list(adapters)}")
    if text.always_adapter is not None and text.always_adapter not in adapters:
        raise ConfigError(f"preprocessing: always_adapter {text.always_adapter!r} is none of {list(adapters)}")
    if text.default_task is not None and text.default_task not in text.instructions:
        raise ConfigError(f"preprocessing: default_task {text.default_task!r} is none of {list(text.instructions)}")
    if text.pad_id != config.text.pad_id:
        raise ConfigError(f"preprocessing: pad_id {text.pad_id} differs from the text tower's {config.text.pad_id}")
    if (image is None) != (config.vision is None):
        raise ConfigError("preprocessing: image must be given exactly where the model has an image tower")
    if image is not None and config.vision is not None and image.size != config.vision.image_size:
        raise ConfigError(f"preprocessing: image size {image.size} differs from the tower's {config.vision.image_size}")


# ---------------------------------------------------------------- writing our own layout


def write_folder(
    path: str | Path,
    *,
    name: str,
    config: DualConfig,
    text_prepare: TextPrepareConfig,
    image_prepare: ImagePrepareConfig | None,
    tensors: Mapping[str, Any],
    tokenizer_file: Path,
    card: CardFacts,
    notice: str = "",
    overwrite: bool = False,
) -> ModelFolder:
    """Write a model in our own layout, whole or not at all.

    Args:
        path: of the new folder.
        name: of the model.
        config: sizes of its towers.
        text_prepare: what happens to texts before the model sees them.
        image_prepare: the same for images; None for a model of texts alone.
        tensors: our names -> NumPy arrays, torch tensors or `StoredTensor`; dtypes are kept. Quantized tensors come
            with ``<name>.scale`` (see `quantized_tensors`).
        tokenizer_file: is copied.
        card: text of README.md.
        notice: text of NOTICE, on what the weights were made from; "": no such file.
        overwrite: replace a model folder that is there.

    Raises:
        ConfigError: preprocessing and towers disagree.
        WeightsError: tensors missing, left over, or of a wrong shape or dtype.
        FolderError: `path` is in use (`overwrite` replaces a model folder, nothing else).
    """
    check_agreement(config, text_prepare, image_prepare)
    stored = {key: to_stored(tensor) for key, tensor in tensors.items()}
    match_tensors(tensor_specs(config), as_entries(stored), "the model to be written")
    with whole_folder(Path(path), overwrite=overwrite) as temporary:
        write_json(temporary / CONFIG, config_to_json(name, config))
        write_json(temporary / PREPROCESSING, preprocessing_to_json(text_prepare, image_prepare))
        write_safetensors(temporary / WEIGHTS, stored)
        shutil.copyfile(tokenizer_file, temporary / TOKENIZER)
        write_text(temporary / CARD, make_card(name, config, text_prepare, image_prepare, card))
        if notice:
            write_text(temporary / NOTICE, notice)
        write_checksums(temporary)
        read_folder(temporary).tensor_index()  # what cannot be read back is not kept
    return read_folder(path)


@contextlib.contextmanager
def whole_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder that becomes the model folder at `path` when the block ends well.

    With `overwrite`, an existing model folder is replaced; what is in the way and is no model folder never is.

    Raises:
        FolderError: `path` exists and may not be replaced.
    """
    if path.exists() or path.is_symlink():
        if not path.is_dir() or (any(path.iterdir()) and not (path / CONFIG).is_file()):
            raise FolderError(f"{path} exists and is no model folder; choose another place")
        if any(path.iterdir()) and not overwrite:
            raise FolderError(f"{path} exists; say overwrite=True to replace it, or choose another place")
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(path) as temporary:
        yield temporary


def read_logit_scale(folder: ModelFolder) -> float | None:
    """What the model multiplies cosines of a text and an image by before a softmax; None where it embeds texts only."""
    return None if folder.config.vision is None else float(math.exp(read_float32(folder.tensor_index(), "logit_scale")))


def as_entries(stored: Mapping[str, StoredTensor]) -> dict[str, TensorEntry]:
    """Tensors in memory, in the form that `match_tensors` compares."""
    nowhere = Path("memory")
    return {
        name: TensorEntry(nowhere, tensor.dtype, tensor.array.shape, 0, tensor.array.nbytes, name)
        for name, tensor in stored.items()
    }


def quantized_tensors(
    tensors: Mapping[str, Any], *, keep: frozenset[str] = frozenset(), int4: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """A model's tensors in the form in which a small model stores them.

    Matrices and convolution weights become int8 with a scale per output channel, embedding tables among ``int4`` int4
    with one per 32 values; all else, and `keep`, stays as it is. One-dimensional tensors, positions and adapters stay
    floats: they are small and sensitive.
    """
    packed: dict[str, Any] = {}
    for name, tensor in tensors.items():
        stored = to_stored(tensor)
        if name in keep or not name.endswith(".weight") or stored.array.ndim < 2 or stored.dtype not in ("F32", "F16"):
            packed[name] = stored
            continue
        quantize = quantize_int4 if name in int4 else quantize_int8
        packed[name], packed[name + SCALE_SUFFIX] = quantize(stored.array)
    return packed
