"""Load and run a SavedModel exactly as TF Serving's C++ does, without importing TensorFlow.

    with SessionModel("serving/vowels/1700000000") as model:
        print(model.signatures["serving_default"].inputs)
        outputs = model.run("serving_default", {"examples": [serialized_example]})

``tf.saved_model.load`` also loads models that no server can; ``TF_LoadSessionFromSavedModel`` doesn't.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.saved_model import c_api
from noisy_gru.saved_model.c_api import Output, Status, pointer
from noisy_gru.saved_model.example_validation import ExampleInput, example_inputs
from noisy_gru.saved_model.saved_model_proto import parse_meta_graph
from noisy_gru.schema.errors import ModelError

_WITHOUT_STEPS = ("state", "static_features")  # inputs of which the second axis is no time axis


class DeadlineExceededError(ModelError):
    """A model did not finish before the deadline."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: its tensor in the graph, dtype (a NumPy name, or `string`) and shape (None: any)."""

    tensor: str
    dtype: str
    shape: tuple[int | None, ...] | None
    code: int


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a signature, by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    method: str


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    dims = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorSpec(
        tensor=info.name,
        dtype=c_api.DTYPE_NAMES.get(info.dtype, str(info.dtype)),
        shape=dims,
        code=info.dtype,
    )


def signatures_of(meta_graph: Any) -> dict[str, Signature]:
    """Return the signatures of a ``MetaGraphDef``, without the one that only initializes."""
    return {
        name: Signature(
            inputs={key: _spec(info) for key, info in sorted(signature.inputs.items())},
            outputs={key: _spec(info) for key, info in sorted(signature.outputs.items())},
            method=signature.method_name,
        )
        for name, signature in sorted(meta_graph.signature_def.items())
        if name != "__saved_model_init_op"
    }


class SessionModel:
    """A SavedModel in a TensorFlow Session.

    Args:
        directory: the folder that holds ``saved_model.pb``.
        threads: threads within one operation; 0 lets TensorFlow choose.
        most_steps: most steps of a sequence; None: any number.

    Raises:
        ModelError: the folder holds no SavedModel, or TensorFlow's loader refuses it; the message is the loader's.
    """

    def __init__(self, directory: str | Path, *, threads: int = 0, most_steps: int | None = None) -> None:
        self.directory = Path(directory)
        self._most_steps = most_steps
        self._session = self._graph = None
        if not (self.directory / "saved_model.pb").is_file():
            raise ModelError(f"{self.directory} holds no saved_model.pb, so it isn't a SavedModel.")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._lib = c_api.library()
        self._load(threads)

    def _load(self, threads: int) -> None:
        lib = self._lib
        tags = (ctypes.c_char_p * 1)(b"serve")
        options = pointer(lib.TF_NewSessionOptions())
        meta_graph = lib.TF_NewBuffer()
        self._graph = lib.TF_NewGraph()
        try:
            with Status() as status:
                if threads:
                    # ConfigProto: intra_op_parallelism_threads is field 2, inter_op_parallelism_threads field 5.
                    config = bytes([0x10, threads, 0x28, threads])
                    lib.TF_SetConfig(options, config, ctypes.c_size_t(len(config)), status.argument)
                self._session = lib.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    str(self.directory).encode(),
                    tags,
                    1,
                    pointer(self._graph),
                    meta_graph,
                    status.argument,
                )
                message = status.message
            if message is not None:
                self._session = None
                raise ModelError(f"TensorFlow can't load {self.directory} in a Session, so TF Serving can't: {message}")
            content = c_api.read_buffer(meta_graph)
        finally:
            lib.TF_DeleteBuffer(meta_graph)
            lib.TF_DeleteSessionOptions(options)
            if self._session is None:
                self.close()
        parsed = parse_meta_graph(content)
        self.signatures: dict[str, Signature] = signatures_of(parsed)
        self._example_inputs: dict[str, dict[str, ExampleInput]] = example_inputs(parsed)

    def close(self) -> None:
        """Release the session and its graph; calling it again does nothing."""
        with Status() as status:
            if self._session is not None:
                self._lib.TF_CloseSession(pointer(self._session), status.argument)
                self._lib.TF_DeleteSession(pointer(self._session), status.argument)
        if self._graph is not None:
            self._lib.TF_DeleteGraph(pointer(self._graph))
        self._session = self._graph = None

    def __enter__(self) -> SessionModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, signature: str, inputs: Mapping[str, Any], *, seconds: float | None = None) -> dict[str, np.ndarray]:
        """Return the outputs of ``signature`` for ``inputs``.

        Args:
            signature: name of a signature.
            inputs: values of the dtype of each input, by name; strings as ``bytes`` or ``str``.
            seconds: deadline of the run; None: no deadline.

        Returns:
            Arrays by the names of the outputs; strings as an object array of ``bytes``.

        Raises:
            ModelError: the signature or an input is unknown or has another dtype or shape; a value is no tf.Example, or
                has no feature of the model; TensorFlow fails; or an output of a `serving_` signature is not finite.
            DeadlineExceededError: the run took longer than ``seconds``.
        """
        if self._session is None:
            raise ModelError(f"The model of {self.directory} is closed.")
        spec = self.signatures.get(signature)
        if spec is None:
            raise ModelError(
                f"There is no signature {signature} in {self.directory}; it has {_names(self.signatures)}."
            )
        missing, unknown = set(spec.inputs) - set(inputs), set(inputs) - set(spec.inputs)
        if missing or unknown:
            raise ModelError(
                f"The signature {signature} takes {_names(spec.inputs)}; received {_names(inputs)}"
                f"{', so ' + _names(missing) + ' is missing' if missing else ''}."
            )
        arrays = {name: _array(name, inputs[name], spec.inputs[name]) for name in spec.inputs}
        self._check_sequences(signature, arrays)
        outputs = self._run(signature, spec, arrays, seconds)
        if signature.startswith("serving_"):  # the labels of an evaluation may be missing
            check_finite(outputs, f"The signature {signature}")
        return outputs

    def _check_sequences(self, signature: str, arrays: Mapping[str, np.ndarray]) -> None:
        for name, example_input in self._example_inputs.get(signature, {}).items():
            example_input.check(arrays[name].ravel().tolist(), most_steps=self._most_steps)
        most = self._most_steps
        if most is None:
            return
        for name, array in arrays.items():
            if name not in _WITHOUT_STEPS and array.ndim > 1 and array.shape[1] > most:
                raise ModelError(f"The input {name} has {array.shape[1]} steps; at most {most} are allowed.")

    def _run(
        self, signature: str, spec: Signature, arrays: dict[str, np.ndarray], seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        lib = self._lib
        options = c_api.run_options(seconds) if seconds is not None else None
        keep: list[Any] = []
        fed: list[int] = []
        fetched = (ctypes.c_void_p * len(spec.outputs))()
        try:
            for name, array in arrays.items():
                fed.append(c_api.new_tensor(array, spec.inputs[name].code, keep))
            with Status() as status:
                lib.TF_SessionRun(
                    pointer(self._session),
                    options,
                    self._outputs(spec.inputs),
                    (ctypes.c_void_p * len(fed))(*fed),
                    len(fed),
                    self._outputs(spec.outputs),
                    fetched,
                    len(spec.outputs),
                    None,
                    0,
                    None,
                    status.argument,
                )
                if (message := status.message) is not None:
                    if status.code == c_api.DEADLINE_EXCEEDED:
                        raise DeadlineExceededError(f"The signature {signature} did not answer within {seconds:.3g} s.")
                    raise ModelError(f"The signature {signature} of {self.directory} failed: {message}")
            return {name: c_api.read_tensor(fetched[index] or 0) for index, name in enumerate(spec.outputs)}
        finally:
            if options is not None:
                lib.TF_DeleteBuffer(options)
            for address in [*fed, *fetched]:
                if address:
                    lib.TF_DeleteTensor(pointer(address))

    def _outputs(self, specs: dict[str, TensorSpec]) -> Any:
        outputs = (Output * len(specs))()
        for index, (name, spec) in enumerate(specs.items()):
            operation, _, number = spec.tensor.partition(":")
            address = self._lib.TF_GraphOperationByName(pointer(self._graph), operation.encode())
            if not address:
                raise ModelError(f"{self.directory}: {name} points to {spec.tensor}, which isn't in the graph.")
            outputs[index] = Output(address, int(number or 0))
        return outputs


def nonfinite_rows(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the rows with a non-finite number in any output, rising; a scalar output is row 0."""
    rows: set[int] = set()
    for array in outputs.values():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rows.update(np.flatnonzero(~np.isfinite(array).reshape(len(array) if array.ndim else 1, -1).all(axis=1)))
    return np.array(sorted(rows), np.int64)


def check_finite(outputs: Mapping[str, np.ndarray], who: str) -> None:
    """Raise ModelError that names the rows, unless all numbers of the outputs are finite."""
    rows = nonfinite_rows(outputs)
    if len(rows):
        shown = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
        raise ModelError(
            f"{who} returned NaN or infinity in the rows {shown} (counted from 0). Are there values far beyond those "
            "of training (such as 1e38)? Correct them, or send NaN for a missing one."
        )


def _names(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def string_values(name: str, array: np.ndarray) -> list[bytes]:
    """Return the elements of an array of strings as bytes; raise ModelError that names the input for other types."""
    strings = [value.encode() if isinstance(value, str) else value for value in array.ravel().tolist()]
    wrong = next((value for value in strings if not isinstance(value, bytes)), None)
    if wrong is not None:
        raise ModelError(f"The input {name} takes strings (bytes or str); received {type(wrong).__name__}.")
    return strings


def _array(name: str, values: Any, spec: TensorSpec) -> np.ndarray:
    if spec.code == c_api.STRING:
        array = np.asarray(values, dtype=object)
        strings = np.empty(array.size, dtype=object)
        strings[:] = string_values(name, array)
        array = strings.reshape(array.shape)
    else:
        if spec.code not in c_api.NUMPY_DTYPES:
            raise ModelError(f"The input {name} has the type {spec.dtype}, which NumPy can't give.")
        given = np.asarray(values)
        if not np.can_cast(given.dtype, c_api.NUMPY_DTYPES[spec.code], "same_kind") and given.size:
            raise ModelError(f"The input {name} takes {spec.dtype}; received {given.dtype}.")
        array = given.astype(c_api.NUMPY_DTYPES[spec.code])
    fits = spec.shape is None or (
        len(spec.shape) == array.ndim
        and all(want in (None, have) for want, have in zip(spec.shape, array.shape, strict=True))
    )
    if not fits:
        wanted = "any" if spec.shape is None else list(spec.shape)
        raise ModelError(f"The input {name} takes the shape {wanted}; received {list(array.shape)}.")
    return array
