"""The emulator on pipelines of the kfp SDK whose containers are plain commands: what each sees, what becomes of it."""

# The kfp SDK reads annotations as they are: calls, too, and so they aren't text here.

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl

from noisy_gru.kubeflow.compiled_pipeline import CompiledPipelineError
from noisy_gru.kubeflow.emulator.dry_run_record import DryRunRecord
from noisy_gru.kubeflow.emulator.running import emulate

# The kfp SDK compiles with what pydantic and Python deprecated.
pytestmark = pytest.mark.filterwarnings("default")

DryRun = Callable[..., DryRunRecord]


def script(text: str, *arguments: Any) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="none", command=["sh", "-e", "-c", text, "script"], args=list(arguments))


@dsl.container_component
def write(text: str, model: dsl.Output[dsl.Model], size: dsl.OutputPath(int)):
    return script(
        'mkdir -p "$1/empty" && printf %s "$0$2" >"$1/a.txt" && mkdir -p "$(dirname "$3")" && printf 7 >"$3"',
        model.path,
        text,
        size,
    )


@dsl.container_component
def describe(model: dsl.Output[dsl.Model]):
    # An ExecutorOutput as a component writes it: metadata, and no files.
    return dsl.ContainerSpec(
        image="none",
        command=["python", "-c"],
        args=[
            "import json, pathlib, sys; told = json.loads(sys.argv[1]); name = 'model'\n"
            "answer = {'artifacts': {name: {'artifacts': [{'metadata': {'blessed': 1, 'note': 'said'}}]}}}\n"
            "pathlib.Path(told['outputs']['outputFile']).parent.mkdir(parents=True, exist_ok=True)\n"
            "pathlib.Path(told['outputs']['outputFile']).write_text(json.dumps(answer))",
            "{{$}}",
        ],
    )


@dsl.container_component
def read(model: dsl.Input[dsl.Model], number: int, seen: dsl.OutputPath(str)):
    return script(
        'mkdir -p "$(dirname "$3")"; { cat "$1/a.txt"; echo; echo "$2 $4"; cd "$1"; find . | sort; } >"$3"',
        model.path,
        number,
        seen,
        model.uri,
    )


@dsl.container_component
def say(text: str, said: dsl.OutputPath(str)):
    return script('mkdir -p "$(dirname "$2")"; printf %s "$1" >"$2"', text, said)


@dsl.container_component
def fail(message: str):
    return script('echo first; echo "error: $1" >&2; echo "  and more"; exit 3', message)


@dsl.container_component
def fail_until(count: int, counter: str, result: dsl.Output[dsl.Artifact]):
    return script(
        'echo x >>"$2"; ls "$(dirname "$3")" | grep -v executor-logs | grep -q . && exit 9;'
        'mkdir -p "$3"; echo half >"$3/half.txt";'
        'if [ "$(wc -l <"$2")" -lt "$1" ]; then exit 4; fi; mv "$3/half.txt" "$3/whole.txt"',
        count,
        counter,
        result.path,
    )


def test_artifacts_and_parameters_are_passed_on(dry_run: DryRun, tmp_path: Path) -> None:
    @dsl.pipeline(name="chain")
    def chain(text: str = "by default"):
        written = write(text=text)
        read(model=written.outputs["model"], number=written.outputs["size"])

    record = dry_run(chain, text="it's $HOME")
    assert record.status == "succeeded"
    assert [task.name for task in record.tasks] == ["write", "read"]
    assert record.task("write").parameters == {"size": 7.0}
    uri = record.task("write").artifacts["model"]["uri"]
    assert uri.startswith(f"minio://mlpipeline/v2/artifacts/chain/{record.run_id}/write/")
    assert uri.endswith("/model")
    # An object store has no empty folders, and a step no variable of a shell.
    assert record.task("read").parameters["seen"].splitlines() == ["script" + "it's $HOME", f"7 {uri}", ".", "./a.txt"]
    kept = tmp_path / "root" / "store" / uri.replace("://", "/")
    assert [file.name for file in kept.iterdir()] == ["a.txt"]
    told = json.loads((tmp_path / "root" / "runs" / record.run_id / "run.json").read_text())
    assert told["status"] == "succeeded"
    assert told["parameters"] == {"text": "it's $HOME"}


def test_metadata_of_the_output_file_reaches_conditions_and_steps_after(dry_run: DryRun) -> None:
    @dsl.container_component
    def metadata_of(model: dsl.Input[dsl.Model], seen: dsl.OutputPath(str)):
        code = (
            "import json, pathlib, sys; told = json.loads(sys.argv[1]); out = pathlib.Path(sys.argv[2])\n"
            "out.parent.mkdir(parents=True, exist_ok=True)\n"
            "out.write_text(json.dumps(told['inputs']['artifacts']['model']['artifacts'][0]['metadata']))"
        )
        return dsl.ContainerSpec(image="none", command=["python", "-c"], args=[code, "{{$}}", seen])

    @dsl.pipeline(name="metadata")
    def pipeline():
        metadata_of(model=describe().outputs["model"])

    record = dry_run(pipeline)
    assert record.status == "succeeded"
    metadata = json.loads(record.task("metadata-of").parameters["seen"])
    assert {key: metadata[key] for key in ("blessed", "note")} == {"blessed": 1, "note": "said"}


@pytest.mark.parametrize(
    ("coin", "states"),
    [
        ("heads", {"say": "SUCCEEDED", "condition-1/say-2": "SUCCEEDED", "condition-2": "SKIPPED"}),
        ("tails", {"say": "SUCCEEDED", "condition-1": "SKIPPED", "condition-2/say-3": "SUCCEEDED"}),
    ],
)
def test_only_the_branch_whose_condition_holds_runs(dry_run: DryRun, coin: str, states: dict[str, str]) -> None:
    @dsl.pipeline(name="branches")
    def branches(coin: str):
        flipped = say(text=coin)
        with dsl.If(flipped.output == "heads"):
            say(text="won")
        with dsl.If(flipped.output != "heads"):
            say(text="lost")

    record = dry_run(branches, coin=coin)
    assert record.status == "succeeded"
    assert {task.name: task.state for task in record.tasks} == states


def test_what_comes_after_a_skipped_task_is_skipped(dry_run: DryRun, tmp_path: Path) -> None:
    @dsl.pipeline(name="skipping")
    def skipping():
        first = say(text="first")
        say(text="second").after(first)
        say(text="beside")

    # TFX puts conditions on tasks, the kfp SDK on graphs around them.
    dry_run(skipping)
    file = tmp_path / "pipeline.yaml"
    spec = yaml.safe_load(file.read_text())
    spec["root"]["dag"]["tasks"]["say"]["triggerPolicy"] = {"condition": "inputs.parameter_values['text'] == 'other'"}
    file.write_text(yaml.safe_dump(spec))
    record = dry_run(file)
    assert record.status == "succeeded"
    assert {task.name: task.state for task in record.tasks} == {
        "say": "SKIPPED",
        "say-2": "SKIPPED",
        "say-3": "SUCCEEDED",
    }


def test_an_imported_artifact_is_downloaded(dry_run: DryRun, tmp_path: Path) -> None:
    @dsl.pipeline(name="importing")
    def importing(uri: str):
        imported = dsl.importer(artifact_uri=uri, artifact_class=dsl.Model, metadata={"from": "outside"})
        read(model=imported.output, number=1)

    (tmp_path / "root" / "store" / "s3" / "models" / "first").mkdir(parents=True)
    (tmp_path / "root" / "store" / "s3" / "models" / "first" / "a.txt").write_text("imported")
    record = dry_run(importing, uri="s3://models/first")
    assert record.status == "succeeded"
    assert record.task("importer").artifacts["artifact"] == {
        "uri": "s3://models/first",
        "metadata": {"from": "outside", "store_session_info": '{"Provider":"s3","Params":{"fromEnv":"true"}}'},
    }
    assert record.task("read").parameters["seen"].splitlines()[:2] == ["imported", "1 s3://models/first"]
    failed = dry_run(importing, uri="/models/first")
    assert failed.status == "failed"
    assert "needs a URI with a scheme. Received: '/models/first'" in failed.task("importer").error


@pytest.mark.parametrize(("fails", "state"), [(True, "FAILED"), (False, "SUCCEEDED")])
def test_an_exit_handler_runs_however_it_ended_and_knows_how(dry_run: DryRun, fails: bool, state: str) -> None:
    @dsl.container_component
    def report(seen: dsl.OutputPath(str), status: dsl.PipelineTaskFinalStatus = None):
        return script('mkdir -p "$(dirname "$2")"; printf %s "$1" >"$2"', status, seen)

    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(report()):
            if fails:
                broken = fail(message="it broke")
                say(text="never").after(broken)
            else:
                say(text="well")

    record = dry_run(handled)
    assert record.status == ("failed" if fails else "succeeded")
    status = json.loads(record.task("report").parameters["seen"])
    assert (status["state"], status["pipelineTaskName"]) == (state, "exit-handler-1")
    inner = {task.name: task.state for task in record.tasks if task.name.startswith("exit-handler-1/")}
    if fails:
        assert inner == {"exit-handler-1/fail": "FAILED", "exit-handler-1/say": "NOT_STARTED"}
        assert "error: it broke" in status["error"]["message"]
    else:
        assert inner == {"exit-handler-1/say": "SUCCEEDED"}


def test_a_failure_ends_the_run_and_is_told_in_the_words_of_the_step(dry_run: DryRun) -> None:
    @dsl.pipeline(name="failing")
    def failing():
        broken = fail(message="the file is gone")
        say(text="never").after(broken)
        say(text="beside it")

    record = dry_run(failing)
    assert record.status == "failed"
    states = {task.name: task.state for task in record.tasks}
    assert states == {"fail": "FAILED", "say": "NOT_STARTED", "say-2": "SUCCEEDED"}
    assert record.task("fail").error == "ended with 3. error: the file is gone\n  and more"
    assert "first" in (Path(str(record.task("fail").folder)) / "log.txt").read_text()


def test_a_retry_starts_with_empty_outputs_and_a_machine_of_its_own(dry_run: DryRun, tmp_path: Path) -> None:
    @dsl.pipeline(name="retrying")
    def retrying(counter: str):
        fail_until(count=3, counter=counter).set_retry(num_retries=2)

    record = dry_run(retrying, counter=str(tmp_path / "count"))
    task = record.task("fail-until")
    assert (record.status, task.state, task.tries) == ("succeeded", "SUCCEEDED", 3)
    kept = tmp_path / "root" / "store" / task.artifacts["result"]["uri"].replace("://", "/")
    assert [file.name for file in kept.iterdir()] == ["whole.txt"]


def test_tries_are_not_more_than_asked_for(dry_run: DryRun, tmp_path: Path) -> None:
    @dsl.pipeline(name="giving-up")
    def giving_up(counter: str):
        fail_until(count=3, counter=counter).set_retry(num_retries=1)

    record = dry_run(giving_up, counter=str(tmp_path / "count"))
    assert (record.status, record.task("fail-until").tries) == ("failed", 2)
    assert not list((tmp_path / "root" / "store").rglob("*.txt"))


def test_a_step_sees_nothing_of_this_process(dry_run: DryRun, monkeypatch: pytest.MonkeyPatch) -> None:
    @dsl.container_component
    def surroundings(seen: dsl.OutputPath(str)):
        return script('mkdir -p "$(dirname "$1")"; { env; echo "in $(pwd)"; } >"$1"', seen)

    @dsl.pipeline(name="clean")
    def clean():
        surroundings().set_env_variable("TOLD", "yes")

    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    record = dry_run(clean)
    task = record.task("surroundings")
    lines = task.parameters["seen"].splitlines()
    variables = {line.partition("=")[0] for line in lines if "=" in line}
    assert variables - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        *("PATH", "HOME", "TMPDIR", "LANG", "KFP_POD_NAME", "NOISY_GRU_LAUNCHER_ROOT", "TOLD"),
    }
    assert lines[-1] == f"in {task.folder}/work"
    assert os.getcwd() != f"{task.folder}/work"  # noqa: PTH109


def test_tasks_that_wait_for_nothing_can_run_at_once(dry_run: DryRun, tmp_path: Path) -> None:
    @dsl.container_component
    def meet(mine: str, other: str):
        wait = 'for _ in $(seq 3000); do [ -e "$2" ] && exit 0; sleep 0.1; done; exit 1'
        return script(f'touch "$1"; {wait}', mine, other)

    @dsl.pipeline(name="meeting")
    def meeting(a: str, b: str):
        meet(mine=a, other=b)
        meet(mine=b, other=a)

    record = dry_run(meeting, jobs=2, a=str(tmp_path / "a"), b=str(tmp_path / "b"))
    assert record.status == "succeeded"


def test_parameters_are_checked_as_the_server_does(dry_run: DryRun) -> None:
    @dsl.container_component
    def take(n: int, flag: bool, items: list):
        return script("true", n, flag, items)

    @dsl.pipeline(name="typed")
    def typed(n: int, flag: bool = True, items: list = [1, 2]):  # noqa: B006
        take(n=n, flag=flag, items=items)

    record = dry_run(typed, n="3", flag="false", items='["a"]')
    assert record.parameters == {"n": 3.0, "flag": False, "items": ["a"]}
    with pytest.raises(CompiledPipelineError, match="parameter n: expected a value"):
        dry_run(typed)
    with pytest.raises(CompiledPipelineError, match=r"parameter n: expected a whole number. Received: 'three'"):
        dry_run(typed, n="three")
    with pytest.raises(CompiledPipelineError, match=r"parameter m: typed has no such parameter. It has: flag"):
        dry_run(typed, n="3", m="4")


@pytest.mark.parametrize(
    ("change", "expected_message"),
    [
        ({"schemaVersion": "2.0.0"}, "expected schema version 2.1.0, .* Found 2.0.0"),
        ({"nonsense": 1}, "not a compiled pipeline"),
        ({"root": {}}, "has no tasks"),
    ],
)
def test_files_that_the_server_refuses(change: dict[str, Any], expected_message: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="good")
    def good():
        say(text="x")

    from kfp import compiler

    file = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(good, str(file))
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **change}))
    with pytest.raises(CompiledPipelineError, match=expected_message):
        emulate(file, tmp_path / "root", write_line=lambda _: None)
    assert not (tmp_path / "root").exists()


def test_arguments_that_depend_on_inputs_fail_by_name(dry_run: DryRun) -> None:
    @dsl.container_component
    def optional(text: str = ""):
        return dsl.ContainerSpec(
            image="none", command=["echo"], args=[dsl.IfPresentPlaceholder(input_name="text", then=["yes"])]
        )

    @dsl.pipeline(name="optional")
    def pipeline():
        optional()

    record = dry_run(pipeline)
    assert record.status == "failed"
    assert record.task("optional").error.startswith("arguments that depend on inputs aren't emulated: ")


def test_what_is_not_emulated_fails_by_name(dry_run: DryRun) -> None:
    @dsl.pipeline(name="loop")
    def loop():
        with dsl.ParallelFor(["a", "b"]) as item:
            say(text=item)

    record = dry_run(loop)
    assert record.status == "failed"
    assert record.tasks[0].error == "loops aren't emulated"
