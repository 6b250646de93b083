"""`crossrank serve`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from crossrank.cli.options import options_of
from crossrank.serve.load_settings import load_settings
from crossrank.serve.settings import ServerSettings, address_of


@options_of(ServerSettings)
def serve(
    ranker: Annotated[str | None, typer.Argument(help=ServerSettings.model_fields["ranker"].description)] = None,
    config: Annotated[
        Path | None, typer.Option(envvar="CROSSRANK_CONFIG", help="TOML file with settings by these names.")
    ] = None,
    **given: Any,
) -> None:
    """Serve rankers over gRPC and HTTP.

    A flag beats CROSSRANK_… in the environment (CROSSRANK_PORT for --port), which beats the file.
    """
    from crossrank.inference.session import require_onnxruntime
    from crossrank.serve.engine.memory import require_address_space
    from crossrank.serve.lifecycle import serve as run
    from crossrank.serve.server import Ports
    from crossrank.serve.telemetry.logs import configure_logs

    settings = load_settings(given if ranker is None else {"ranker": ranker, **given}, config)
    require_address_space()
    require_onnxruntime()
    configure_logs()

    scheme = "http" if settings.tls_cert is None else "https"

    def tell(ports: Ports) -> None:
        # The first line is for scripts that asked for port 0; flushed, since they wait for it.
        print(f"listening on {address_of(settings.host, ports.grpc)}", flush=True)
        if ports.http is not None:
            print(f"HTTP on {scheme}://{address_of(settings.host, ports.http)}", flush=True)

    raise typer.Exit(asyncio.run(run(settings, tell)))
