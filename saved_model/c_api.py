"""TensorFlow's C API through ctypes: the installed wheel's library, its strings, buffers, tensors and status.

Importing this module loads nothing; ``library()`` loads the wheel's C++ library without importing TensorFlow.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.saved_model.saved_model_proto import parse_op_list
from noisy_gru.schema.errors import ModelError

# tensorflow/c/tf_datatype.h
STRING = 7
DEADLINE_EXCEEDED = 4  # tensorflow/c/tf_status.h
NUMPY_DTYPES: dict[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}
DTYPE_NAMES = {code: np.dtype(dtype).name for code, dtype in NUMPY_DTYPES.items()} | {STRING: "string", 14: "bfloat16"}
_STRING_SIZE = 24  # sizeof(TF_TString)


class Buffer(ctypes.Structure):
    """``TF_Buffer``."""

    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


class Output(ctypes.Structure):
    """``TF_Output``: an operation of a graph and the index of one of its outputs."""

    _fields_ = [("oper", ctypes.c_void_p), ("index", ctypes.c_int)]


# Functions that return neither an int nor nothing.
_RESULTS: dict[str, Any] = {
    "TF_NewStatus": ctypes.c_void_p,
    "TF_Message": ctypes.c_char_p,
    "TF_Version": ctypes.c_char_p,
    "TF_NewGraph": ctypes.c_void_p,
    "TF_NewSessionOptions": ctypes.c_void_p,
    "TF_NewBuffer": ctypes.POINTER(Buffer),
    "TF_NewBufferFromString": ctypes.POINTER(Buffer),
    "TF_GetAllOpList": ctypes.POINTER(Buffer),
    "TF_LoadSessionFromSavedModel": ctypes.c_void_p,
    "TF_GraphOperationByName": ctypes.c_void_p,
    "TF_AllocateTensor": ctypes.c_void_p,
    "TF_TensorData": ctypes.c_void_p,
    "TF_Dim": ctypes.c_int64,
    "TF_StringGetDataPointer": ctypes.c_void_p,
    "TF_StringGetSize": ctypes.c_size_t,
}


@functools.cache
def library() -> Any:
    """Return the C++ library of the installed TensorFlow wheel.

    Raises:
        ModelError: TensorFlow isn't installed, or its library can't be loaded.
    """
    spec = importlib.util.find_spec("tensorflow")  # finds the package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "TensorFlow isn't installed, so no SavedModel can be loaded. pip install 'noisy-gru-tfx[pipeline]'"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "libtensorflow_cc.so.2"
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise ModelError(f"Could not load TensorFlow's C++ library {path}: {error}") from error
    for name, kind in _RESULTS.items():
        getattr(loaded, name).restype = kind
    return loaded


def pointer(address: int | None) -> ctypes.c_void_p:
    """Return ``address`` as an argument; a bare int would be truncated to 32 bits."""
    return ctypes.c_void_p(address)


def read_buffer(buffer: Any) -> bytes:
    """Copy the content of a pointer to `Buffer`."""
    return ctypes.string_at(buffer.contents.data, buffer.contents.length)


def run_options(seconds: float) -> Any:
    """Return a new ``TF_Buffer`` with ``RunOptions`` that limit a run to so many seconds."""
    milliseconds, content = max(int(seconds * 1000), 1), bytearray(b"\x10")  # timeout_in_ms is field 2, a varint
    while milliseconds > 127:
        content.append(milliseconds & 127 | 128)
        milliseconds >>= 7
    content.append(milliseconds)
    return library().TF_NewBufferFromString(bytes(content), ctypes.c_size_t(len(content)))


def registered_operations() -> dict[str, bool]:
    """Return the names of TensorFlow's operations, and whether each is stateful."""
    buffer = library().TF_GetAllOpList()
    try:
        operations = parse_op_list(read_buffer(buffer)).op
    finally:
        library().TF_DeleteBuffer(buffer)
    return {operation.name: operation.is_stateful for operation in operations}


class Status:
    """``TF_Status``, released at the end of a ``with`` block."""

    def __enter__(self) -> Status:
        self._address = library().TF_NewStatus()
        return self

    def __exit__(self, *_: object) -> None:
        library().TF_DeleteStatus(self.argument)

    @property
    def argument(self) -> ctypes.c_void_p:
        """The status as an argument of a C function."""
        return pointer(self._address)

    @property
    def code(self) -> int:
        """TensorFlow's code; 0 for success."""
        return library().TF_GetCode(self.argument)

    @property
    def message(self) -> str | None:
        """TensorFlow's message; None for success."""
        if library().TF_GetCode(self.argument) == 0:
            return None
        return library().TF_Message(self.argument).decode("utf-8", "replace")


def new_tensor(array: np.ndarray, dtype: int, keep: list[Any]) -> int:
    """Return the address of a new ``TF_Tensor`` with a copy of ``array``.

    Args:
        array: values of any shape; objects (bytes) where ``dtype`` is ``STRING``.
        dtype: TensorFlow's code of the type.
        keep: receives the objects that must outlive the tensor: its strings are views of Python's bytes.
    """
    lib = library()
    dims = (ctypes.c_int64 * array.ndim)(*array.shape)
    size = array.size * _STRING_SIZE if dtype == STRING else array.nbytes
    address = lib.TF_AllocateTensor(dtype, dims, array.ndim, ctypes.c_size_t(size))
    data = lib.TF_TensorData(pointer(address))
    if dtype != STRING:
        contiguous = np.ascontiguousarray(array)
        ctypes.memmove(pointer(data), contiguous.ctypes.data_as(ctypes.c_void_p), array.nbytes)
        return address
    for index, value in enumerate(array.ravel()):
        keep.append(value)
        element = pointer(data + index * _STRING_SIZE)
        lib.TF_StringInit(element)
        lib.TF_StringAssignView(element, ctypes.c_char_p(value), ctypes.c_size_t(len(value)))
    return address


def read_tensor(address: int) -> np.ndarray:
    """Copy a ``TF_Tensor``; strings become an object array of ``bytes``.

    Raises:
        ModelError: NumPy has no such type.
    """
    lib = library()
    tensor = pointer(address)
    shape = tuple(lib.TF_Dim(tensor, axis) for axis in range(lib.TF_NumDims(tensor)))
    dtype = lib.TF_TensorType(tensor)
    data = lib.TF_TensorData(tensor)
    count = int(np.prod(shape, dtype=np.int64))
    if dtype == STRING:
        result = np.empty(count, dtype=object)
        for index in range(count):
            element = pointer(data + index * _STRING_SIZE)
            start, size = lib.TF_StringGetDataPointer(element), lib.TF_StringGetSize(element)
            result[index] = ctypes.string_at(start, size)
        return result.reshape(shape)
    if dtype not in NUMPY_DTYPES:
        raise ModelError(f"An output has the type {DTYPE_NAMES.get(dtype, dtype)}, which can't be read into NumPy.")
    result = np.empty(shape, dtype=NUMPY_DTYPES[dtype])
    if count:
        ctypes.memmove(result.ctypes.data_as(ctypes.c_void_p), pointer(data), result.nbytes)
    return result
