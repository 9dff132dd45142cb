"""All tensors of the published files, name by name and shape by shape, both ways, without the memory for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from babelclip.checkpoint.names import Layout, match_tensors, tensor_specs
from babelclip.checkpoint.published_config import read_clip_config, read_embeddings_config
from babelclip.checkpoint.weights import TensorEntry
from babelclip.errors import WeightsError
from babelclip.towers.config import DualConfig
from babelclip.towers.dual import DualEncoder

PUBLISHED = Path(__file__).parents[1] / "fixtures" / "published"


def model(version: str) -> tuple[DualConfig, Layout, dict[str, tuple[int, ...]]]:
    """(our configuration from the published file, layout, the file's names and shapes)."""
    keys = json.loads((PUBLISHED / f"keys_full_{version}.json").read_text())["keys"]
    shapes = {name: tuple(shape) for name, shape in keys}
    if version == "v2":
        clip = json.loads((PUBLISHED / "jina-clip-v2/config.json").read_text())
        return read_clip_config(clip)[0], "jina_clip", shapes
    config = json.loads((PUBLISHED / "jina-embeddings-v3/config.json").read_text())
    return read_embeddings_config(config)[0], "jina_embeddings_v3", shapes


def entries(shapes: dict[str, tuple[int, ...]]) -> dict[str, TensorEntry]:
    return {name: TensorEntry(Path("file"), "F16", shape, 0, 0, name) for name, shape in shapes.items()}


@pytest.mark.parametrize(("version", "count"), [("v2", 999), ("v3", 492)])
def test_the_table_names_every_published_tensor_and_no_other(version: str, count: int) -> None:
    config, layout, shapes = model(version)
    assert len(shapes) == count
    assert {spec.published: spec.shape for spec in tensor_specs(config, layout)} == shapes


@pytest.mark.parametrize(("version", "count"), [("v2", 999), ("v3", 492)])
def test_every_parameter_of_the_towers_is_filled_by_one_published_tensor_of_its_shape(version: str, count: int) -> None:
    config, layout, shapes = model(version)
    with torch.device("meta"):
        towers = {name: tuple(tensor.shape) for name, tensor in DualEncoder(config).state_dict().items()}
    matched = match_tensors(tensor_specs(config, layout), entries(shapes), "the published file")
    assert len(matched) == count
    assert {name: entry.shape for name, entry in matched.items()} == towers
    assert sorted(entry.source for entry in matched.values()) == sorted(shapes)  # each used once


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_one_tensor_less_more_or_of_another_shape_is_enough(version: str) -> None:
    config, layout, shapes = model(version)
    first, second = sorted(shapes)[100:102]
    for changed, says in (
        ({name: shapes[name] for name in shapes if name != first}, rf"Missing \(1\): {first}\.$"),
        (shapes | {"stranger": (1,)}, r"Left over \(1\): stranger\.$"),
        (shapes | {second: (3, *shapes[second])}, rf"Wrong \(1\): {second} is \[3, "),
    ):
        with pytest.raises(WeightsError, match=says):
            match_tensors(tensor_specs(config, layout), entries(changed), "a file")
    both = {name if name != first else "stranger": shape for name, shape in shapes.items()}
    with pytest.raises(WeightsError, match=rf"Missing \(1\): {first}\. Left over \(1\): stranger"):
        match_tensors(tensor_specs(config, layout), entries(both), "a file")


def test_parameter_counts() -> None:
    def count(version: str) -> int:
        return sum(torch.Size(spec.shape).numel() for spec in tensor_specs(model(version)[0]))

    assert count("v2") == 865_278_477
    assert count("v3") == 572_310_396
