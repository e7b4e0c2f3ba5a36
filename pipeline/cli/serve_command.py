"""``noisy-gru serve``: serve the published model on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from noisy_gru.pipeline.cli.options import ConfigArgument, DebugOption, HostOption, RootOption, SetOption, exit_on_error


def serve(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    host: HostOption = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; 0: any free port.", min=0, max=65535)] = 8500,
    rest_port: Annotated[int, typer.Option(help="Port of REST; 0: any free port.", min=0, max=65535)] = 8501,
    poll_seconds: Annotated[
        float, typer.Option(help="Seconds between polls for new versions.", min=0.05, max=3600)
    ] = 1.0,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="Run the stand-in even if TF Serving is available.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Serve the published model on this machine over gRPC and REST, until Ctrl-C.

    Starts TF Serving if tensorflow_model_server is on the PATH or a docker engine runs; otherwise a stand-in with the
    same API, for development.
    """
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.run_directory import default_root

    with exit_on_error(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.local_serving import Listening, serve_published

        listening = Listening(host=host, grpc_port=grpc_port, rest_port=rest_port, poll_seconds=poll_seconds)
        code = serve_published(
            loaded, config_path=config, root=root or default_root(loaded), listening=listening, stand_in=stand_in
        )
    raise typer.Exit(code)
