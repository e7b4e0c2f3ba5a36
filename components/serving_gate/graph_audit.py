"""Audit a SavedModel's graph and functions for operations that must not be served.

An operation is fine if it keeps no state and draws nothing at random, or if its state is the model's own: weights,
vocabularies, control flow. Everything else is named, with the function it stands in and why it is bad. The bodies of
loops and conditions, and functions within functions, are functions of the graph's library like all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Operations that TensorFlow counts as stateful, and whose answer still depends on their inputs and the model alone.
ALLOWED_STATEFUL = frozenset(
    {
        # inputs, calls and control flow
        "Placeholder", "Assert", "NoOp", "StatefulPartitionedCall", "PartitionedCall", "While", "If", "Case",
        # weights
        "VarHandleOp", "ReadVariableOp", "ResourceGather", "AssignVariableOp", "VarIsInitializedOp",
        "DestroyResourceOp",
        # vocabularies and other tables
        "HashTableV2", "LookupTableFindV2", "LookupTableSizeV2", "LookupTableImportV2", "LookupTableExportV2",
        "InitializeTableV2", "InitializeTableFromTextFileV2", "AnonymousHashTable",
        # lists of a loop
        "TensorListFromTensor", "TensorListStack", "TensorListReserve", "TensorListSetItem", "TensorListGetItem",
        "TensorArrayV3", "TensorArrayReadV3", "TensorArrayWriteV3", "TensorArrayGatherV3", "TensorArrayScatterV3",
        "TensorArraySizeV3", "TensorArrayCloseV3", "Stack", "StackV2", "StackPushV2", "StackPopV2",
        # the functions that read and write the variables file
        "SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "DisableCopyOnRead",
    }
)  # fmt: skip

_FORBIDDEN = (
    (("Random", "Multinomial", "TruncatedNormal", "StatefulUniform", "StatefulStandardNormal", "Rng", "Sobol",
      "Stochastic", "FractionalMaxPool", "FractionalAvgPool", "Shuffle", "Sampl", "KmeansPlusPlus", "KMC2",
      "BitwiseXor"),  # the last is NoisyGRU's own generator's (trainer/layers/threefry.py)
     "draws at random: noise or dropout is on, so answers change from call to call. Call it with training=False"),
    (("PyFunc", "NumpyFunction"), "calls into Python, which TF Serving doesn't have"),
    (("Cudnn",), "needs an NVIDIA GPU to run. Build the layers of the export with use_cudnn=False"),
    (("Xla", "TPU"), "must be compiled by XLA, which TF Serving is built without. Export without jit_compile"),
    (("Print", "WriteFile", "ReadFile", "MatchingFiles", "Summary"), "reads or writes files or the terminal"),
)  # fmt: skip
_MUST_COMPILE = "_XlaMustCompile"


@dataclass(frozen=True)
class BadOperation:
    """An operation that must not be served."""

    op: str
    node: str
    function: str
    reason: str

    def __str__(self) -> str:
        where = f"in function {self.function}" if self.function else "in the main graph"
        return f"{self.op} (node {self.node} {where}) {self.reason}"


def operations(meta_graph: Any) -> Iterator[tuple[str, Any]]:
    """Yield every node of the graph and of its functions, with the function's name ('' for the graph itself)."""
    for node in meta_graph.graph_def.node:
        yield "", node
    for function in meta_graph.graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def audit(meta_graph: Any, known: Mapping[str, bool]) -> list[BadOperation]:
    """Return the operations of a graph that must not be served.

    Args:
        meta_graph: a ``MetaGraphDef``.
        known: names of the operations that TensorFlow has, and whether it counts each as stateful. Empty if they could
            not be asked for; an operation is then judged by its name alone.
    """
    found = []
    functions = {function.signature.name for function in meta_graph.graph_def.library.function}
    for function in meta_graph.graph_def.library.function:
        if function.attr[_MUST_COMPILE].b:
            found.append(BadOperation(_MUST_COMPILE, "(all)", function.signature.name, _reason("Xla")))
    for function, node in operations(meta_graph):
        if node.op in functions:
            continue
        reason = _reason(node.op)
        if not reason and _MUST_COMPILE in node.attr and node.attr[_MUST_COMPILE].b:
            reason = _reason("Xla")
        if not reason and known and node.op not in known:
            reason = "is none of TensorFlow's operations, so TF Serving doesn't have it. Export without the custom one"
        if not reason and known.get(node.op) and node.op not in ALLOWED_STATEFUL:
            reason = "keeps state that isn't the model's, so a repeated call may be answered differently"
        if reason:
            found.append(BadOperation(node.op, node.name, function, reason))
    return found


def _reason(op: str) -> str:
    return next((reason for words, reason in _FORBIDDEN if any(word in op for word in words)), "")
