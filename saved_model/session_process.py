"""A SavedModel in a Session of a process of its own: if TensorFlow crashes or hangs, this process goes on.

    with SessionProcess("serving/vowels/1700000000") as model:
        answers = model.run("serving_default", {"examples": [serialized_example]})

It is asked like a ``SessionModel``. Requests and answers go through socket pairs, one for each request at a time;
arrays are framed as NumPy's bytes, and nothing is unpickled. When the process has ended, ``run`` raises
``ProcessEndedError``, and another `SessionProcess` has to be made.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.saved_model.session import DeadlineExceededError, SessionModel, Signature, TensorSpec
from noisy_gru.schema.errors import ModelError

_GRACE_SECONDS = 30.0  # after the time of a run, within which TensorFlow ends it by itself, on a busy machine, too
_END_SECONDS = 10.0


class ProcessEndedError(ModelError):
    """The process of a model ended, or was ended because it did not answer."""


class SessionProcess:
    """A ``SessionModel`` in another process.

    Args:
        directory: the folder that holds ``saved_model.pb``.
        threads: threads within one operation; 0 lets TensorFlow choose.
        most_steps: steps of a sequence at most; None: any number.
        channels: requests that may run at a time; others wait for their turn.

    Raises:
        ModelError: as ``SessionModel``; or the process ended while it loaded.
    """

    def __init__(
        self, directory: str | Path, *, threads: int = 0, most_steps: int | None = None, channels: int = 1
    ) -> None:
        self.directory = Path(directory)
        pairs = [socket.socketpair() for _ in range(channels + 1)]
        theirs = [their.fileno() for _, their in pairs]
        settings = {"directory": str(directory), "threads": threads, "most_steps": most_steps, "channels": theirs}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, json.dumps(settings)], stdin=subprocess.DEVNULL, pass_fds=theirs
            )
        finally:
            for _, their in pairs:
                their.close()
        ours = [Connection(our.detach()) for our, _ in pairs]
        self._control = ours[0]
        self._all = ours
        self._free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        for channel in ours[1:]:
            self._free.put(channel)
        self._closed = False
        try:
            loaded = json.loads(self._control.recv_bytes())
        except (OSError, EOFError) as error:
            self.close()
            raise ProcessEndedError(f"The process that loads {directory} {self._how_it_ended()}.") from error
        if "error" in loaded:
            self.close()
            raise ModelError(loaded["error"])
        self.signatures: dict[str, Signature] = {
            name: Signature(_specs(each["inputs"]), _specs(each["outputs"]), each["method"])
            for name, each in loaded["signatures"].items()
        }

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def run(self, signature: str, inputs: Mapping[str, Any], *, seconds: float | None = None) -> dict[str, np.ndarray]:
        """The outputs of ``signature``; see ``SessionModel.run``.

        Raises:
            ModelError: as ``SessionModel.run``.
            DeadlineExceededError: TensorFlow took longer than ``seconds``.
            ProcessEndedError: the process ended, of this request or of another one.
        """
        if self._closed:
            raise ModelError(f"The model of {self.directory} is closed.")
        request = _packed({"signature": signature, "seconds": seconds}, inputs)
        channel = self._free.get()
        try:
            channel.send_bytes(request)
            if seconds is not None and not channel.poll(seconds + _GRACE_SECONDS):
                self._process.kill()
            header, arrays = _unpacked(channel.recv_bytes())
        except (OSError, EOFError) as error:
            raise ProcessEndedError(f"The model's process {self._how_it_ended()} while it answered.") from error
        finally:
            self._free.put(channel)
        if "error" in header:
            raise (DeadlineExceededError if header["out_of_time"] else ModelError)(header["error"])
        return arrays

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "does not answer"
        return f"was ended by signal {-code} ({_signal_name(-code)})" if code < 0 else f"ended with {code}"

    def close(self) -> None:
        """Ends the process; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        for channel in self._all:
            channel.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> SessionProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _specs(specs: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(tensor, dtype, None if shape is None else tuple(shape), code)
        for name, (tensor, dtype, shape, code) in specs.items()
    }


def _packed(header: dict[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """A message: the length of a JSON header, the header, then the bytes of each array; strings with their lengths."""
    described, parts = [], []
    for name, values in arrays.items():
        array = values if isinstance(values, np.ndarray) else _array(values)
        if array.dtype.kind in "OSU":
            strings = [value.encode() if isinstance(value, str) else value for value in array.ravel().tolist()]
            wrong = next((value for value in strings if not isinstance(value, bytes)), None)
            if wrong is not None:
                raise ModelError(f"The input {name} takes strings (bytes or str); received {type(wrong).__name__}.")
            parts += [np.array([len(value) for value in strings], np.int64).tobytes(), *strings]
            described.append((name, None, array.shape))
        else:
            parts.append(np.ascontiguousarray(array).tobytes())
            described.append((name, array.dtype.str, array.shape))
    head = json.dumps({**header, "arrays": described}).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values)
    # NumPy's own type of bytes loses zero bytes at the end of a value.
    return np.asarray(values, object) if array.dtype.kind in "SU" else array


def _unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    size = int.from_bytes(message[:8], "little")
    header = json.loads(message[8 : 8 + size])
    at, arrays = 8 + size, {}
    for name, dtype, shape in header.pop("arrays"):
        count = int(np.prod(shape, dtype=np.int64))
        if dtype is not None:
            array = np.frombuffer(message, np.dtype(dtype), count, at)
            at += array.nbytes
            arrays[name] = array.reshape(shape).copy()
            continue
        lengths = np.frombuffer(message, np.int64, count, at)
        at += lengths.nbytes
        strings = np.empty(count, object)
        for index, length in enumerate(lengths.tolist()):
            strings[index] = message[at : at + length]
            at += length
        arrays[name] = strings.reshape(shape)
    return header, arrays


def _answer(model: SessionModel, channel: Connection) -> None:
    """Answer the requests of a channel, one after the other."""
    while True:
        try:
            header, inputs = _unpacked(channel.recv_bytes())
        except (OSError, EOFError):
            return
        try:
            outputs = model.run(header["signature"], inputs, seconds=header["seconds"])
            answer = _packed({}, outputs)
        except ModelError as error:
            answer = _packed({"error": str(error), "out_of_time": isinstance(error, DeadlineExceededError)}, {})
        channel.send_bytes(answer)


def _described(model: SessionModel) -> dict[str, Any]:
    def listed(specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
        return {name: (spec.tensor, spec.dtype, spec.shape, spec.code) for name, spec in specs.items()}

    return {
        name: {"inputs": listed(each.inputs), "outputs": listed(each.outputs), "method": each.method}
        for name, each in model.signatures.items()
    }


def main(settings: Mapping[str, Any]) -> None:
    """Load the model and answer, until the other end of the first channel is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group, and the parent ends this one
    control, *channels = [Connection(number) for number in settings["channels"]]
    try:
        model = SessionModel(settings["directory"], threads=settings["threads"], most_steps=settings["most_steps"])
    except ModelError as error:
        control.send_bytes(json.dumps({"error": str(error)}).encode())
        return
    for channel in channels:
        threading.Thread(target=_answer, args=(model, channel), daemon=True).start()
    try:
        control.send_bytes(json.dumps({"signatures": _described(model)}).encode())
        control.recv_bytes()  # nothing is sent: it ends with the parent, or when the parent closes it
    except (OSError, EOFError):
        pass
    sys.stderr.flush()
    os._exit(0)  # what still runs is nobody's any more


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
