"""Reads ``saved_model.pb`` without importing TensorFlow.

The protos in the tensorflow wheel import all of TensorFlow. The few messages needed here are described anew, with
the field numbers of tensorflow/core/protobuf, in a descriptor pool of their own; unknown fields are skipped.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "noisy_gru.saved_model"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int64": _Field.TYPE_INT64,
    "int32": _Field.TYPE_INT32,
    "bool": _Field.TYPE_BOOL,
}

# message: {field name: (number, type, repeated)}; a type of "map:X" is a map from string to X.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
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
    "SignatureDef": {
        "inputs": (1, "map:TensorInfo", True),
        "outputs": (2, "map:TensorInfo", True),
        "method_name": (3, "string", False),
    },
    "TensorInfo": {
        "name": (1, "string", False),
        "dtype": (2, "int32", False),
        "tensor_shape": (3, "TensorShapeProto", False),
    },
    "TensorShapeProto": {"dim": (2, "Dim", True), "unknown_rank": (3, "bool", False)},
    "Dim": {"size": (1, "int64", False)},
}


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="noisy_gru/saved_model.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if not kind.startswith("map:"):
                _set_type(field, kind)
                continue
            entry_name = "".join(part.capitalize() for part in field_name.split("_")) + "Entry"
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            _set_type(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), "string")
            _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), kind[4:])
            field.type = _Field.TYPE_MESSAGE
            field.type_name = f".{_PACKAGE}.{name}.{entry_name}"
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _classes()


def parse_saved_model(content: bytes) -> Any:
    """The message ``SavedModel`` in ``content``.

    Raises:
        google.protobuf.message.DecodeError: if ``content`` is not a SavedModel.
    """
    return _CLASSES["SavedModel"].FromString(content)


def parse_meta_graph(content: bytes) -> Any:
    """The message ``MetaGraphDef`` in ``content``, as the C API hands it out.

    Raises:
        google.protobuf.message.DecodeError: if ``content`` is not a MetaGraphDef.
    """
    return _CLASSES["MetaGraphDef"].FromString(content)


def parse_op_list(content: bytes) -> Any:
    """The message ``OpList`` in ``content``, as the C API hands it out.

    Raises:
        google.protobuf.message.DecodeError: if ``content`` is not an OpList.
    """
    return _CLASSES["OpList"].FromString(content)
