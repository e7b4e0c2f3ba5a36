"""How fast ingestion is, and how much memory it takes, beside TFX's own CsvExampleGen.

    python benchmarks/ingestion.py --rows 10000000 --format parquet
    python benchmarks/ingestion.py --rows 300000 --format csv --against-tfx
    python benchmarks/ingestion.py --mode portable --job-endpoint localhost:8099 --worker-pool localhost:50000
    python -m benchmarks.ingestion --mode flink     # on a cluster of its own, benchmarks/flink_cluster.py

Each measurement runs in a process of its own, through the executors' ``Do``; the peak is that of the process and its
workers together at any one time (sampled), TensorFlow's and TFX's own memory included; behind a job server that is the
process that submits, alone; with Flink, the peaks of its processes come beside it. Imports are not timed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FEATURES = [f"x{number:02d}" for number in range(12)]
MODES = {
    "in_memory": ["--runner=FnApiRunner"],
    "multi_processing": ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    "multi_threading": ["--runner=FnApiRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    "portable": ["--runner=PortableRunner", "--environment_type=EXTERNAL"],
    "flink": ["--parallelism=2"],
}


def make_table(rows: int, steps: int, folder: Path, kind: str) -> None:
    """Write sequences of about ``steps`` rows in the order of time, so that all entities are mixed in every block."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    random = np.random.default_rng(0)
    entities = max(rows // steps, 1)
    block = 1_000_000
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, rows, block)):
        count = min(block, rows - start)
        index = np.arange(start, start + count)
        columns = {
            "entity": pa.array(np.char.add("e", (index % entities).astype(str))),
            "step": index // entities,
            **{name: random.standard_normal(count, np.float32) for name in FEATURES},
            "label": (index % entities % 5).astype(str),
        }
        table = pa.table(columns)
        if kind == "parquet":
            pa.parquet.write_table(table, folder / f"part-{number:03d}.parquet")
        else:
            pa.csv.write_csv(table, folder / f"part-{number:03d}.csv")


def peak_of(process: subprocess.Popen) -> int:
    """Return the peak resident bytes of a process and its descendants together, sampled five times a second."""
    most = 0
    while process.poll() is None:
        table: dict[int, tuple[int, int]] = {}
        for status in Path("/proc").glob("[0-9]*/statm"):
            try:
                parent = int((status.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
                table[int(status.parent.name)] = (parent, int(status.read_text().split()[1]) * 4096)
            except (OSError, IndexError):  # the process has ended meanwhile
                continue
        family = {process.pid}
        for _ in range(4):
            family |= {pid for pid, (parent, _) in table.items() if parent in family}
        most = max(most, sum(table[pid][1] for pid in family if pid in table))
        time.sleep(0.2)
    return most


def run_ours(data: str, out: str, kind: str, beam: list[Any]) -> float:
    """Run SequenceExampleGen's executor; return its seconds."""
    from tfx.types import standard_artifacts

    from noisy_gru.components.artifacts import IngestionReportArtifact
    from noisy_gru.components.sequence_example_gen.driver import resolved_properties
    from noisy_gru.components.sequence_example_gen.executor import Executor
    from noisy_gru.schema.config import DatasetConfig

    dataset = DatasetConfig.model_validate(
        {
            "data": {"files": [f"*.{kind}"], "entity": "entity", "time": {"column": "step"}, "features": FEATURES},
            "task": {"kind": "classification", "label": "label"},
        }
    )
    properties, _ = resolved_properties({"input_base": data, "dataset": dataset.model_dump_json(), "span": "latest"})
    examples, report = standard_artifacts.Examples(), IngestionReportArtifact()
    examples.uri, report.uri = f"{out}/examples/1", f"{out}/report/1"
    executor = Executor(Executor.Context(beam_pipeline_args=beam, tmp_dir=out))
    began = time.perf_counter()
    executor.Do(
        {},
        {"examples": [examples], "ingestion_report": [report]},
        properties,
    )
    return time.perf_counter() - began


def run_tfx(data: str, out: str) -> float:
    """Run CsvExampleGen's executor; return its seconds."""
    from tfx.components.example_gen import utils
    from tfx.components.example_gen.csv_example_gen.executor import Executor
    from tfx.proto import example_gen_pb2
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    examples = standard_artifacts.Examples()
    examples.uri = f"{out}/examples/1"
    config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="data", pattern="*.csv")])
    arguments: list[Any] = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    executor = Executor(Executor.Context(beam_pipeline_args=arguments, tmp_dir=out))
    began = time.perf_counter()
    executor.Do(
        {},
        {"examples": [examples]},
        {
            "input_base": data,
            "input_config": proto_utils.proto_to_json(config),
            "output_config": proto_utils.proto_to_json(utils.make_default_output_config(config)),
            "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
            "output_file_format": example_gen_pb2.FORMAT_TFRECORDS_GZIP,
        },
    )
    return time.perf_counter() - began


def measure(which: str, data: Path, rows: int, kind: str, mode: str, servers: list[str]) -> dict[str, object]:
    """Run one executor in a process of its own; ``servers`` are Beam's arguments that name them."""
    beam = [f"--beam={each}" for each in (*MODES[mode], *servers, "--sdk_container_image=unused")]
    with tempfile.TemporaryDirectory(prefix="ingestion-") as out:
        command = [sys.executable, __file__, "--child", which, "--data", str(data), "--out", out]
        process = subprocess.Popen(
            [*command, "--format", kind, *beam], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        peak: list[int] = []
        sampler = threading.Thread(target=lambda: peak.append(peak_of(process)))
        sampler.start()
        output, errors = process.communicate()
        sampler.join()
    if process.returncode:
        raise RuntimeError(f"{which} failed:\n{errors[-3000:]}")
    seconds, cpu = map(float, output.strip().splitlines()[-1].split())
    return {
        "what": which,
        "format": kind,
        "mode": mode,
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "cpu_seconds": round(cpu, 1),
        "peak_gib": round(peak[0] / 2**30, 2),
    }


def main() -> None:
    """Make the data, measure, and print one JSON object per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=100, help="rows per sequence")
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--mode", choices=sorted(MODES), default="in_memory")
    parser.add_argument("--job-endpoint", help="host:port, of --mode portable")
    parser.add_argument("--worker-pool", help="host:port, of --mode portable")
    parser.add_argument("--against-tfx", action="store_true", help="measure CsvExampleGen on the same CSV too")
    parser.add_argument("--child", choices=["ours", "tfx"], help=argparse.SUPPRESS)
    parser.add_argument("--beam", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        before = os.times()
        if options.child == "ours":
            seconds = run_ours(options.data, options.out, options.format, options.beam)
        else:
            seconds = run_tfx(options.data, options.out)
        # Of this process and of workers that it has waited for; the first imports are in it.
        print(seconds, sum(os.times()[:4]) - sum(before[:4]))
        return
    servers = []
    if options.mode == "portable":
        if not (options.job_endpoint and options.worker_pool):
            parser.error("--mode portable needs --job-endpoint and --worker-pool")
        servers = [f"--job_endpoint={options.job_endpoint}", f"--environment_config={options.worker_pool}"]
    with tempfile.TemporaryDirectory(prefix="ingestion-data-") as folder:
        data = Path(folder) / "table"
        make_table(options.rows, options.steps, data, options.format)
        with _flink(servers) if options.mode == "flink" else contextlib.nullcontext(dict[str, object]) as usage:
            for which in ["ours", "tfx"] if options.against_tfx else ["ours"]:
                found = measure(which, data, options.rows, options.format, options.mode, servers)
                print(json.dumps(found | usage()), flush=True)


@contextlib.contextmanager
def _flink(servers: list[str]) -> Iterator[Callable[[], dict[str, object]]]:
    """Start a cluster, add Beam's arguments to ``servers``, and yield what returns its peaks and processor seconds."""
    from benchmarks.flink_cluster import flink_cluster
    from noisy_gru.pipeline.config.beam_config import FlinkBeam, beam_arguments

    with flink_cluster() as cluster:
        servers += beam_arguments(FlinkBeam.model_validate(cluster.beam()))
        peaks, ended, began = dict[str, int](), threading.Event(), cluster.cpu_seconds()

        def sample() -> None:
            while not ended.wait(0.5):
                for name, resident in cluster.resident().items():
                    peaks[name] = max(peaks.get(name, 0), resident)

        def usage() -> dict[str, object]:
            gib = {f"{name}_gib": round(peak / 2**30, 2) for name, peak in sorted(peaks.items())}
            return {**gib, "cluster_cpu_seconds": round(cluster.cpu_seconds() - began, 1)}

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield usage
        finally:
            ended.set()
            sampler.join()


if __name__ == "__main__":
    main()
