"""A SavedModel in a Session of its own process: if TensorFlow crashes or hangs, this process survives.

    with SessionProcess("serving/vowels/1700000000") as model:
        outputs = model.run("serving_default", {"examples": [serialized_example]})

The interface is that of ``SessionModel``. Requests and responses go through socket pairs, one request at a time each;
arrays are sent as raw bytes, and nothing is unpickled. Once the process has ended, ``run`` raises
``ProcessEndedError``, and a new `SessionProcess` is needed.
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

from noisy_gru.saved_model.session import DeadlineExceededError, SessionModel, Signature, TensorSpec, string_values
from noisy_gru.schema.errors import ModelError

_GRACE_SECONDS = 30.0  # after the deadline, for TensorFlow to end the run by itself, also on a busy machine
_END_SECONDS = 10.0


class ProcessEndedError(ModelError):
    """A model's process ended, or was killed because it did not respond."""


class SessionProcess:
    """A ``SessionModel`` in another process.

    Args:
        directory: the folder that holds ``saved_model.pb``.
        threads: threads within one operation; 0 lets TensorFlow choose.
        most_steps: most steps of a sequence; None: any number.
        channels: concurrent requests; others wait.

    Raises:
        ModelError: see ``SessionModel``; or the process ended while it loaded the model.
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
            raise ProcessEndedError(f"The process that loads {directory} {self._exit_text()}.") from error
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
        """The process id."""
        return self._process.pid

    def run(self, signature: str, inputs: Mapping[str, Any], *, seconds: float | None = None) -> dict[str, np.ndarray]:
        """Return the outputs of ``signature``; see ``SessionModel.run``.

        Raises:
            ModelError: see ``SessionModel.run``.
            DeadlineExceededError: the run took longer than ``seconds``.
            ProcessEndedError: the process ended, through this request or another one.
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
            raise ProcessEndedError(f"The model's process {self._exit_text()} during the request.") from error
        finally:
            self._free.put(channel)
        if "error" in header:
            raise (DeadlineExceededError if header["out_of_time"] else ModelError)(header["error"])
        return arrays

    def _exit_text(self) -> str:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "does not respond"
        return f"was ended by signal {-code} ({_signal_name(-code)})" if code < 0 else f"exited with {code}"

    def close(self) -> None:
        """End the process; calling it again does nothing."""
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
    """Serialize a message: length of a JSON header, the header, and the bytes of each array; strings with lengths."""
    described, parts = [], []
    for name, values in arrays.items():
        array = values if isinstance(values, np.ndarray) else _array(values)
        if array.dtype.kind in "OSU":
            strings = string_values(name, array)
            parts += [np.array([len(value) for value in strings], np.int64).tobytes(), *strings]
            described.append((name, None, array.shape))
        else:
            parts.append(np.ascontiguousarray(array).tobytes())
            described.append((name, array.dtype.str, array.shape))
    head = json.dumps({**header, "arrays": described}).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values)
    # NumPy's bytes type loses trailing zero bytes.
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


def _serve(model: SessionModel, channel: Connection) -> None:
    """Serve the requests of a channel, one after another."""
    while True:
        try:
            header, inputs = _unpacked(channel.recv_bytes())
        except (OSError, EOFError):
            return
        try:
            outputs = model.run(header["signature"], inputs, seconds=header["seconds"])
            response = _packed({}, outputs)
        except ModelError as error:
            response = _packed({"error": str(error), "out_of_time": isinstance(error, DeadlineExceededError)}, {})
        channel.send_bytes(response)


def _signature_specs(model: SessionModel) -> dict[str, Any]:
    def as_lists(specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
        return {name: (spec.tensor, spec.dtype, spec.shape, spec.code) for name, spec in specs.items()}

    return {
        name: {"inputs": as_lists(each.inputs), "outputs": as_lists(each.outputs), "method": each.method}
        for name, each in model.signatures.items()
    }


def main(settings: Mapping[str, Any]) -> None:
    """Load the model and serve requests, until the parent closes the first channel."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the parent ends this process
    control, *channels = [Connection(number) for number in settings["channels"]]
    try:
        model = SessionModel(settings["directory"], threads=settings["threads"], most_steps=settings["most_steps"])
    except ModelError as error:
        control.send_bytes(json.dumps({"error": str(error)}).encode())
        return
    for channel in channels:
        threading.Thread(target=_serve, args=(model, channel), daemon=True).start()
    try:
        control.send_bytes(json.dumps({"signatures": _signature_specs(model)}).encode())
        control.recv_bytes()  # blocks until the parent ends, or closes it
    except (OSError, EOFError):
        pass
    sys.stderr.flush()
    os._exit(0)  # abandons running requests


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
