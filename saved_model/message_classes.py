"""Protocol buffer messages declared at run time, because those of the tensorflow wheel import all of TensorFlow.

    classes = message_classes("noisy_gru.example", {"FloatList": {"value": (1, "float", True)}})
    classes["FloatList"].FromString(content)

The classes live in a descriptor pool of their own, so their names can't clash. Undeclared fields are skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "int32": _Field.TYPE_INT32,
    "uint32": _Field.TYPE_UINT32,
    "bool": _Field.TYPE_BOOL,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
}
# {field name: (number, type, repeated)}; the type is a scalar, a message, or "map:X", a map from string to message X.
Fields = Mapping[str, tuple[int, str, bool]]
# A signature, as saved_model.pb and TF Serving's API have it (tensorflow/core/protobuf/meta_graph.proto).
SIGNATURE_MESSAGES: dict[str, Fields] = {
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


def message_classes(package: str, messages: Mapping[str, Fields], oneofs: Collection[str] = ()) -> dict[str, Any]:
    """Return the classes of messages, by name.

    Args:
        package: prefix of their full names.
        messages: the fields of each message. Enums are declared as int32, their type on the wire.
        oneofs: messages whose fields are all in one oneof named `kind`.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        if name in oneofs:
            message.oneof_decl.add(name="kind")
        for field_name, (number, kind, repeated) in fields.items():
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if name in oneofs:
                field.oneof_index = 0
            if not kind.startswith("map:"):
                _set_type(field, package, kind)
                continue
            entry_name = "".join(part.capitalize() for part in field_name.split("_")) + "Entry"
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            _set_type(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), package, "string")
            _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), package, kind[4:])
            field.type = _Field.TYPE_MESSAGE
            field.type_name = f".{package}.{name}.{entry_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


def _set_type(field: descriptor_pb2.FieldDescriptorProto, package: str, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
