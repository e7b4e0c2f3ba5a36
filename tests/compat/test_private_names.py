"""Canaries: each private name of Keras, TFX, Beam and kfp that the product uses still is and does what is expected.

A new release that drops one fails here, by name, before it fails a pipeline. The last test scans the source, so that
nobody uses another one without a canary.
"""

import ast
import gzip
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow.rnn import bidirectional_gru

from noisy_gru.compat.beam import gzipped_by, share_options, worker_of
from noisy_gru.compat.keras import flatten_layers, moving_averages, run_through_graph, take_gradients_as_summed
from noisy_gru.compat.tensorflow import CACHE_OPTION, XLA_FLAGS, align_function_names
from noisy_gru.compat.tensorflow_transform import shared_traces
from noisy_gru.compat.tfx import (
    Execution,
    execution_of,
    make_beam_pipeline,
    standard_artifact_types,
    temporary_folder,
)
from noisy_gru.storage.gzip_stream import GzipStream
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.layers.threefry import random_bits

ROOT = Path(__file__).parents[2]
ROOMS = (
    "schema",
    "compat",
    "storage",
    "saved_model",
    "trainer",
    "data",
    "registry",
    "components",
    "serving",
    "pipeline",
    "kubeflow",
)
# By attribute: the library. `compat/` alone uses them, each in the library's module.
COVERED = {
    "_flatten_layers": "keras",
    "_all_reduce_sum_gradients": "keras",
    "_run_through_graph": "keras",
    "_model_variables_moving_average": "keras",
    "_all_options": "beam",
    "_worker_handler": "beam",
    "_context": "tfx",
    "_log_startup": "tfx",
    "_make_beam_pipeline": "tfx",
    "_get_tmp_dir": "tfx",
    "_initialize_compressor": "beam",
    "_compression_type": "beam",
    "_SUPPORTED_STANDARD_ARTIFACT_TYPES": "tfx",
    "_pipelines_api": "kfp",
    "_run_api": "kfp",
    "_healthz_api": "kfp",
}


def test_tensorflow_numbers_functions_from_where_they_are_aligned_to(monkeypatch):
    monkeypatch.setenv(XLA_FLAGS, f"{CACHE_OPTION}/somewhere")
    align_function_names()
    number = int(tf.function(lambda: tf.constant(1)).get_concrete_function().name.decode().rsplit("_", 1)[1])
    assert number >= 1_000_000
    assert number % 1_000_000 < 20


def test_keras_flattens_a_model_down_to_the_layers_inside_of_layers():
    inner = keras.Sequential([keras.Input((3, 2)), NoisyGRU(2, name="deep")])
    bidirectional = keras.layers.Bidirectional(NoisyGRU(2, return_sequences=True, name="both"))
    model = keras.Sequential([keras.Input((3, 2)), bidirectional, keras.layers.Dense(2), inner])
    found = {layer.name for layer in flatten_layers(model) if isinstance(layer, NoisyGRU)}
    assert found == {"deep", "forward_both", "backward_both"}


def test_keras_runs_a_functional_model_layer_by_layer_through_the_call_that_is_given():
    inputs = {"b": keras.Input((2,), name="b"), "a": keras.Input((2,), name="a")}
    hidden = keras.layers.Dense(3, name="dense")(inputs["b"])
    model = keras.Model(inputs, keras.layers.Concatenate(name="both")([hidden, inputs["a"]]))
    called = []

    def call(layer: Any, *args: Any, **arguments: Any) -> Any:
        called.append(layer.name)
        return layer(*args, **arguments) * (2.0 if layer.name == "dense" else 1.0)

    given = {"a": tf.constant([[1.0, 2.0]]), "b": tf.constant([[3.0, 4.0]])}
    found = run_through_graph(model, given, call).numpy()[0]
    assert called == ["dense", "both"]
    assert found[:3] == pytest.approx(2 * model(given).numpy()[0, :3])
    assert found[3:] == pytest.approx([1, 2])


def test_kerass_optimizer_sums_gradients_over_replicas_in_the_method_that_is_replaced(monkeypatch):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    summed = []
    with strategy.scope():
        variable = keras.Variable(1.0)
        optimizer = keras.optimizers.SGD(0.5)
        optimizer.build([variable])
    monkeypatch.setattr(optimizer, "_all_reduce_sum_gradients", lambda pairs: summed.append(pairs) or pairs)
    # As in training: within a replica, in a function.
    strategy.run(tf.function(lambda: optimizer.apply([tf.constant(1.0)], [variable])))
    assert summed
    assert float(variable.numpy()) == 0.5
    take_gradients_as_summed(optimizer)
    strategy.run(tf.function(lambda: optimizer.apply([tf.constant(1.0)], [variable])))
    assert len(summed) == 1, "the method that was there is not called"
    assert float(variable.numpy()) == 0.0


def test_kerass_optimizer_keeps_moving_averages_in_the_order_of_the_variables():
    variables = [keras.Variable(1.0), keras.Variable([2.0, 3.0])]
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.9)
    optimizer.build(variables)
    for _ in range(2):
        optimizer.apply([tf.constant(1.0), tf.constant([0.0, 1.0])], variables)
    # From the first step's weights, Keras' averages begin with: 0.9 * 0 + 0.1 * -1, and 0.9 * (2, 2) + 0.1 * (2, 1).
    first, second = (average.numpy() for average in moving_averages(optimizer))
    assert first == pytest.approx(-0.1)
    assert second == pytest.approx([2.0, 1.9])


def test_keras_runs_a_gru_through_inner_loop():
    """Its arguments are what `NoisyGRU.inner_loop` takes; its answer a triple of last output, outputs, states."""
    assert [*inspect.signature(keras.layers.GRU.inner_loop).parameters] == [
        "self",
        "sequences",
        "initial_state",
        "mask",
        "training",
    ]
    layer: Any = keras.layers.GRU(2, return_sequences=True)
    layer.build((None, 3, 4))
    last, outputs, states = layer.inner_loop(tf.zeros((5, 3, 4)), tf.zeros((5, 2)), None)
    assert (last.shape, outputs.shape, [state.shape for state in states]) == ((5, 2), (5, 3, 2), [(5, 2)])


def test_the_layer_says_itself_that_it_takes_masks():
    """Keras' master sets `supports_masking` of every RNN to False (3.16, keras/src/layers/rnn/rnn.py:212)."""
    assert NoisyGRU(2).supports_masking


def test_bidirectional_has_no_path_of_its_own_around_the_noise():
    """Bidirectional calls `backend.bidirectional_gru` first (layers/rnn/bidirectional.py:211); TensorFlow's refuses."""
    with pytest.raises(NotImplementedError):
        bidirectional_gru()


def test_a_traced_function_can_be_kept_from_being_inlined():
    graph = tf.function(lambda: random_bits(tf.constant([1, 2]), 3, 4)).get_concrete_function().graph
    threefry = [each for each in graph.as_graph_def().library.function if "threefry2x32" in each.signature.name]
    assert threefry
    assert all(each.attr["_noinline"].b for each in threefry)


def test_the_names_that_a_saved_model_holds():
    from tensorflow.python.saved_model import constants
    from tensorflow.python.trackable import base

    assert constants.INIT_OP_SIGNATURE_KEY == "__saved_model_init_op"
    assert vars(base)["OBJECT_GRAPH_PROTO_KEY"] == "_CHECKPOINTABLE_OBJECT_GRAPH"


@pytest.mark.slow
def test_beams_views_share_their_options():
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.transforms import userstate

    options = PipelineOptions(["--runner=FnApiRunner"])
    view = options.view_as(StandardOptions)
    assert share_options(view, options)
    assert not share_options(view, PipelineOptions([]))
    assert view.runner == "FnApiRunner"
    assert callable(userstate.get_dofn_specs)


def test_beams_gzip(tmp_path):
    from apache_beam.io.filesystems import FileSystems

    numbers = np.random.default_rng(0).standard_normal(100_000).astype(np.float32).tobytes()
    for name, content in (("numbers", numbers), ("texts", b"text" * 100_000)):
        with gzipped_by(GzipStream), FileSystems.create(str(tmp_path / f"{name}.gz")) as stream:
            for start in range(0, len(content), 1000):
                stream.write(content[start : start + 1000])
        assert gzip.decompress((tmp_path / f"{name}.gz").read_bytes()) == content
        stored = (tmp_path / f"{name}.gz").stat().st_size > len(content)
        assert stored == (name == "numbers")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of TFX's own imports
def test_tensorflow_transform_traces_once_to_look():
    import tensorflow_transform as tft

    traced = []

    def function(inputs):
        traced.append(sorted(inputs))
        return {"z": inputs["x"] - tft.mean(inputs["x"])}

    specs = {name: tf.TensorSpec([None], tf.float32) for name in "xy"}
    with shared_traces():
        found = [tft.get_analyze_input_columns(function, specs), tft.get_transform_input_columns(function, specs)]
        assert len(traced) == 1
        tft.get_analyze_input_columns(function, {"x": specs["x"]})
        assert traced[1:] == [["x"]]
    assert found == [tft.get_analyze_input_columns(function, specs), ["x"]]
    assert len(traced) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of TFX's own imports
def test_tfxs_executors():
    from tfx.dsl.components.base import base_beam_executor, base_executor

    from noisy_gru.components.sequence_example_gen.executor import Executor

    class Plain(base_executor.BaseExecutor):
        def Do(self, input_dict, output_dict, exec_properties):
            raise AssertionError

    info = SimpleNamespace(id="vowels")
    context: Any = base_executor.BaseExecutor.Context(
        tmp_dir="/nowhere", unique_id="7", pipeline_info=info, pipeline_run_id="r1"
    )
    assert execution_of(Plain(context)) == Execution("vowels", "r1")
    assert execution_of(Plain(None)) == Execution()
    assert temporary_folder(Plain(None)) is None
    executor: Any = Executor(base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"]))
    assert make_beam_pipeline(executor).options.get_all_options()["runner"] == "FnApiRunner"
    assert [*inspect.signature(executor._log_startup).parameters] == ["inputs", "outputs", "exec_properties"]


@pytest.mark.slow
def test_tfxs_compiler_for_kubeflow():
    from tfx.types import standard_artifacts

    assert standard_artifacts.Examples in standard_artifact_types()


def test_kfps_client():
    import kfp.client
    import kfp_server_api
    from kfp_server_api.rest import RESTClientObject

    names = kfp.client.Client.__init__.__code__.co_names
    assert {"_pipelines_api", "_run_api", "_healthz_api"} <= {*names}
    assert hasattr(kfp_server_api.PipelineServiceApi, "pipeline_service_create_pipeline")
    assert hasattr(kfp_server_api.HealthzServiceApi, "healthz_service_get_healthz")
    assert "_request_timeout" in inspect.signature(RESTClientObject.request).parameters


def test_beam_asks_its_workers_for_progress():
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.fn_api_runner.worker_handlers import EmbeddedWorkerHandler

    manager = fn_runner.BundleManager.__new__(fn_runner.BundleManager)
    manager._worker_handler = worker = object()
    assert worker_of(manager) is worker
    assert [*inspect.signature(fn_runner.ProgressRequester.__init__).parameters][1:4] == [
        *("worker_handler", "instruction_id", "frequency"),
    ]
    # tests/pipeline/runs/test_beam_progress.py runs a pipeline.
    assert "bundle_processor_cache" in EmbeddedWorkerHandler.__init__.__code__.co_names


def test_there_are_no_others():
    # os._exit and the codes of confluent_kafka.KafkaError are documented.
    documented = {"_exit", "_ALL_BROKERS_DOWN", "_PARTITION_EOF", "_RESOLVE", "_TIMED_OUT", "_TRANSPORT"}
    used = {(name, place) for name, place in _private_names_of_others() if name not in documented}
    assert used == {(name, f"compat/{library}.py") for name, library in COVERED.items()}


def _private_names_of_others() -> Iterator[tuple[str, str]]:
    """Attributes with a leading underscore that are used in the product's source, but made nowhere in it; and where."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    walked = [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text()))]
    nodes = [node for _, node in walked]
    own: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            own.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__setattr__":
            own |= {each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    for path, node in walked:
        place = path.relative_to(ROOT).as_posix()
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if node.attr not in own:
                yield node.attr, place
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from ((part, place) for part in parts if part.startswith("_") or part == "src")


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")
