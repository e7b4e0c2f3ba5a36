"""Runners behind a job server cancel the job of a run that is interrupted (on a cluster: tests/pipeline/flink)."""

from __future__ import annotations

from typing import Any

import pytest

# Beam warns of what its own libraries have deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class Result:
    """A job, and what its runner does with it."""

    def __init__(self, state: str, end: BaseException | None, refuses: bool = False) -> None:
        self.state, self._end, self._refuses, self.cancelled = state, end, refuses, 0

    def wait_until_finish(self, duration: int | None = None) -> str:
        if self._end is not None:
            raise self._end
        return f"{self.state} after {duration}"

    def cancel(self) -> None:
        import grpc

        self.cancelled += 1
        if self._refuses:
            raise grpc.RpcError("gone")


@pytest.fixture(params=["PortableRunner", "FlinkRunner", "SparkRunner"])
def waiting(request, monkeypatch) -> Any:
    """``waiting(result)``: what a pipeline waits for, if Beam's own runner returns this result."""
    from apache_beam.runners.portability import portable_runner
    from apache_beam.runners.runner import create_runner

    def wait(result: Result) -> Any:
        monkeypatch.setattr(portable_runner.PortableRunner, "run_portable_pipeline", lambda *_: result)
        runner: Any = create_runner(f"noisy_gru.compat.beam_runners.{request.param}")
        return runner.run_portable_pipeline(None, None).wait_until_finish

    return wait


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_cancels_the_job(waiting, end):
    result = Result("RUNNING", end())
    with pytest.raises(end):
        waiting(result)()
    assert result.cancelled == 1


def test_a_job_that_ended_meanwhile_is_left_alone(waiting):
    result = Result("DONE", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        waiting(result)()
    assert result.cancelled == 0


def test_an_interrupt_stays_one_if_the_job_server_is_gone(waiting, caplog):
    result = Result("RUNNING", KeyboardInterrupt(), refuses=True)
    with pytest.raises(KeyboardInterrupt):
        waiting(result)()
    assert "the job server did not cancel the job, which may still run: gone" in caplog.text


def test_a_job_that_ends_or_fails_is_beams_own(waiting):
    result = Result("DONE", None)
    assert waiting(result)(3) == "DONE after 3"
    failed = Result("FAILED", RuntimeError("Pipeline x failed in state FAILED"))
    with pytest.raises(RuntimeError, match="failed in state FAILED"):
        waiting(failed)()
    assert result.cancelled == failed.cancelled == 0
