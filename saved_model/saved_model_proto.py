"""Parse ``saved_model.pb`` and other protocol buffers without importing TensorFlow.

The few messages needed here are declared again (see ``message_classes``), with the field numbers of
tensorflow/core/protobuf.
"""

from __future__ import annotations

from typing import Any

from noisy_gru.saved_model.message_classes import SIGNATURE_MESSAGES, Fields, message_classes

_MESSAGES: dict[str, Fields] = {
    "SavedModel": {"meta_graphs": (2, "MetaGraphDef", True)},
    "MetaGraphDef": {
        "meta_info_def": (1, "MetaInfoDef", False),
        "graph_def": (2, "GraphDef", False),
        "signature_def": (5, "map:SignatureDef", True),
    },
    "MetaInfoDef": {"tags": (4, "string", True)},
    "GraphDef": {"node": (1, "NodeDef", True), "library": (2, "FunctionDefLibrary", False)},
    "FunctionDefLibrary": {"function": (1, "FunctionDef", True)},
    "FunctionDef": {
        "signature": (1, "OpDef", False),
        "node_def": (3, "NodeDef", True),
        "attr": (5, "map:AttrValue", True),
    },
    "OpDef": {"name": (1, "string", False), "is_stateful": (17, "bool", False)},
    "OpList": {"op": (1, "OpDef", True)},
    "NodeDef": {
        "name": (1, "string", False),
        "op": (2, "string", False),
        "input": (3, "string", True),
        "attr": (5, "map:AttrValue", True),
    },
    "AttrValue": {
        "s": (2, "bytes", False),
        "i": (3, "int64", False),
        "b": (5, "bool", False),
        "type": (6, "int32", False),
        "shape": (7, "TensorShapeProto", False),
        "tensor": (8, "TensorProto", False),
        "func": (10, "NameAttrList", False),
    },
    "TensorProto": {"string_val": (8, "bytes", True)},
    "NameAttrList": {"name": (1, "string", False)},
    **SIGNATURE_MESSAGES,
}


_CLASSES = message_classes("noisy_gru.saved_model", _MESSAGES)


def parse_saved_model(content: bytes) -> Any:
    """Parse a ``SavedModel`` message.

    Raises:
        google.protobuf.message.DecodeError: ``content`` is not a SavedModel.
    """
    return _CLASSES["SavedModel"].FromString(content)


def parse_meta_graph(content: bytes) -> Any:
    """Parse a ``MetaGraphDef`` message, as the C API returns it.

    Raises:
        google.protobuf.message.DecodeError: ``content`` is not a MetaGraphDef.
    """
    return _CLASSES["MetaGraphDef"].FromString(content)


def parse_op_list(content: bytes) -> Any:
    """Parse an ``OpList`` message, as the C API returns it.

    Raises:
        google.protobuf.message.DecodeError: ``content`` is not an OpList.
    """
    return _CLASSES["OpList"].FromString(content)
