"""The few messages of an ONNX file that babelclip reads without the ``onnx`` package, which the core does not install.

Numbers of fields are those of onnx.proto, a stable format. protobuf, which ONNX Runtime brings, does the parsing: it
checks every length against the bytes at hand, and writes back unchanged what is not declared here. The messages stand
in a pool of their own, beside those of the ``onnx`` package where that is installed.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from babelclip.errors import WeightsError

FLOAT, UINT8, INT8, FLOAT16, BFLOAT16 = 1, 2, 3, 10, 16
"""Number types of tensors, as ``TensorProto.DataType`` counts them."""
EXTERNAL: Final = 1
"""``data_location`` of a tensor whose bytes are in another file."""

_PACKAGE = "babelclip.onnx"
_TYPES = descriptor_pb2.FieldDescriptorProto
_FIELDS: Final = {
    "StringStringEntryProto": (("key", 1, "string"), ("value", 2, "string")),
    "TensorProto": (
        ("dims", 1, "int64*"),
        ("data_type", 2, "int32"),
        ("float_data", 4, "float*"),
        ("int32_data", 5, "int32*"),
        ("name", 8, "string"),
        ("raw_data", 9, "bytes"),
        ("external_data", 13, "StringStringEntryProto*"),
        ("data_location", 14, "int32"),
    ),
    "NodeProto": (("input", 1, "string*"), ("output", 2, "string*"), ("name", 3, "string"), ("op_type", 4, "string")),
    "GraphProto": (("node", 1, "NodeProto*"), ("initializer", 5, "TensorProto*")),
    "ModelProto": (("graph", 7, "GraphProto"),),
}
"""Message -> name, number and type of its fields; a star: several."""


def parse_model(content: bytes, where: str) -> Any:
    """A ``ModelProto`` with the fields above; what else the file holds stays in it, unread.

    Raises:
        WeightsError: these bytes are no ONNX file.
    """
    model = _model_class()()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise WeightsError(f"{where} is not an ONNX file: {error}") from error
    if not model.graph.node:
        raise WeightsError(f"{where} is not an ONNX file: expected a graph with nodes, found none")
    return model


@cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="babelclip/onnx.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _FIELDS.items():
        declared = file.message_type.add(name=message)
        for name, number, kind in fields:
            plain = kind.rstrip("*")
            several = kind.endswith("*")
            field = declared.field.add(
                name=name, number=number, label=_TYPES.LABEL_REPEATED if several else _TYPES.LABEL_OPTIONAL
            )
            if plain in _FIELDS:
                field.type, field.type_name = _TYPES.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
            else:
                field.type = getattr(_TYPES, f"TYPE_{plain.upper()}")
            if several and plain in ("float", "int32"):
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelProto"))
