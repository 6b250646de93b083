"""`crossrank serve`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from crossrank.errors import UsageError


def serve(
    ranker: Annotated[
        str | None,
        typer.Argument(help="Directory or Hugging Face id (ID@REVISION). Default: the one that comes with crossrank."),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="A further ranker; repeatable.")] = None,
    variant: Annotated[str | None, typer.Option(help="Name or precision of the graph. Default: the fastest.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cpu.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that run the model. Default: usable cores.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one. Default: 50051.")] = None,
    default_deadline: Annotated[float | None, typer.Option(help="Seconds for calls without a deadline.")] = None,
    max_documents: Annotated[int | None, typer.Option(help="Documents of one call. Default: 1000.")] = None,
    max_text_bytes: Annotated[int | None, typer.Option(help="UTF-8 bytes of one text. Default: 2 MiB.")] = None,
    max_message_bytes: Annotated[int | None, typer.Option(help="Bytes of one request. Default: 64 MiB.")] = None,
    max_queued_tokens: Annotated[
        int | None, typer.Option(help="Tokens that may wait, for each ranker. Default: 2000000.")
    ] = None,
    score_cache: Annotated[
        int | None, typer.Option(help="Scores that are kept, for each ranker; 0 keeps none. Default: 100000.")
    ] = None,
    document_cache: Annotated[
        int | None,
        typer.Option(help="Tokens of documents that are kept, for each ranker; 0 keeps none. Default: 200000."),
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics for Prometheus. Default: none.")] = None,
    feedback: Annotated[
        Path | None, typer.Option(help="SQLite file for what was shown and what users say of it. Default: none.")
    ] = None,
    feedback_texts: Annotated[
        bool | None, typer.Option("--feedback-texts", help="Also keep queries and shown documents there.")
    ] = None,
    drain: Annotated[float | None, typer.Option(help="Seconds for calls in flight after SIGTERM. Default: 30.")] = None,
    config: Annotated[
        Path | None, typer.Option(envvar="CROSSRANK_CONFIG", help="TOML file with settings by these names.")
    ] = None,
) -> None:
    """Serve rankers over gRPC. A flag beats CROSSRANK_... in the environment, which beats the file."""
    from crossrank.inference.session import require_onnxruntime
    from crossrank.serve.logs import configure_logs
    from crossrank.serve.server import serve as run
    from crossrank.serve.settings import load_settings

    flags = {
        "ranker": ranker,
        "models": _named(model) if model else None,
        "variant": variant,
        "device": device,
        "workers": workers,
        "host": host,
        "port": port,
        "default_deadline": default_deadline,
        "max_documents": max_documents,
        "max_text_bytes": max_text_bytes,
        "max_message_bytes": max_message_bytes,
        "max_queued_tokens": max_queued_tokens,
        "score_cache": score_cache,
        "document_cache": document_cache,
        "metrics_port": metrics_port,
        "feedback": feedback,
        "feedback_texts": feedback_texts,
        "drain": drain,
    }
    settings = load_settings({name: value for name, value in flags.items() if value is not None}, config)
    require_onnxruntime()
    configure_logs()
    # The one line for scripts that asked for port 0; flushed, since they wait for it.
    asyncio.run(run(settings, lambda bound: print(f"listening on {settings.host}:{bound}", flush=True)))


def _named(models: list[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for entry in models:
        name, equals, path = entry.partition("=")
        if not (name and equals and path):
            raise UsageError(f"--model {entry}: write it as NAME=PATH")
        if name in named:
            raise UsageError(f"--model {name} is given twice")
        named[name] = path
    return named
