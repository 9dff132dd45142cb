"""An exported graph for the same tower in another file of weights: references are set anew, nothing else changes.

An export needs torch; this does not. The tower has to be the same in names, shapes and number types, so that every
reference of the graph finds its tensor, and the graph computes what it computed before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from babelclip.checkpoint.folder import ModelFolder
from babelclip.checkpoint.onnx_messages import BFLOAT16, EXTERNAL, FLOAT, FLOAT16, INT8, UINT8, parse_model
from babelclip.checkpoint.weights import TensorEntry
from babelclip.errors import WeightsError
from babelclip.runtime.exported import GraphFacts

_STORED = {FLOAT: "F32", FLOAT16: "F16", BFLOAT16: "BF16", INT8: "I8", UINT8: "U8"}


def graph_for(folder: ModelFolder, graph: bytes, facts: GraphFacts) -> tuple[bytes, GraphFacts]:
    """The graph with its references into the folder's weights, and what its manifest says of it.

    Args:
        folder: Whose weights it shall read.
        graph: Of the same tower in another folder.
        facts: Of that graph; its agreement with torch holds for the new one too.

    Raises:
        WeightsError: The graph names a tensor that the folder has not, or has in another form.
    """
    content = repointed(graph, folder.tensor_index(), folder.name)
    digest = hashlib.sha256(content).hexdigest()
    return content, replace(facts, fingerprint=folder.fingerprint(), sha256=digest)


def repointed(graph: bytes, index: Mapping[str, TensorEntry], name: str) -> bytes:
    """The graph with every reference where the index says.

    Raises:
        WeightsError: As ``graph_for``.
    """
    model = parse_model(graph, f"the graph for {name}")
    for tensor in model.graph.initializer:
        if tensor.data_location == EXTERNAL:
            _set_place(tensor, index, name)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _set_place(tensor: Any, index: Mapping[str, TensorEntry], name: str) -> None:
    entry = index.get(tensor.name)
    wanted = _STORED.get(tensor.data_type), tuple(tensor.dims)
    if entry is None or (entry.dtype, entry.shape) != wanted:
        found = "nothing" if entry is None else f"{entry.dtype} {list(entry.shape)}"
        raise WeightsError(
            f"{name}: its graph expects {tensor.name} as {wanted[0]} {list(wanted[1])}, the weights have {found}"
        )
    place = {"location": entry.file.name, "offset": str(entry.offset), "length": str(entry.nbytes)}
    for said in tensor.external_data:
        if said.key not in place:
            raise WeightsError(
                f"{name}: its graph says {said.key} of where {tensor.name} lies, which is not known here"
            )
        said.value = place.pop(said.key)
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
