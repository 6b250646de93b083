"""`crossrank doctor`: an installation and its machine on one page, for people who look for a fault or report one."""

import os
import shutil
import socket
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import typer
from pydantic import BaseModel

from crossrank.cli.output import print_json, print_line
from crossrank.errors import CrossrankError, first_line

# The exit code where something is broken.
BROKEN = 4
_GIB = 1 << 30
_PACKAGES = ("numpy", "tokenizers", "protobuf", "optimum", "optimum-onnx", "huggingface-hub")
# Our own, and those of libraries that change what the commands do.
_PREFIXES = ("CROSSRANK_", "HF_", "ORT_", "OMP_", "CUDA_", "TRANSFORMERS_", "TOKENIZERS_", "PYTORCH_", "GRPC_")
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")


class Row(BaseModel):
    """One finding.

    Attributes:
        name: what was looked at.
        state: `warning` may be meant so, `broken` keeps commands from working.
        found: in a line.
        advice: what to do; empty where all is well.
    """

    name: str
    state: Literal["ok", "warning", "broken"]
    found: str
    advice: str = ""


class Page(BaseModel):
    """Everything that `crossrank doctor` found."""

    versions: dict[str, str]
    golden_error: float | None = None
    pairs_per_second: float | None = None
    rows: list[Row]


def doctor(
    ranker: Annotated[
        str | None,
        typer.Option(help="Directory or Hugging Face id of the ranker to try. Default: the one of crossrank."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check this installation and this machine.

    Exits with 4 where something is broken.
    """
    from crossrank.bench.environment import tools

    page = Page(versions=tools(*_PACKAGES), rows=[])
    page.rows.append(Row(name="versions", state="ok", found=", ".join(f"{k} {v}" for k, v in page.versions.items())))
    for check in (_wheels, _processor, _memory, _places, _proxies, _environment, _ports):
        page.rows += _guarded(check)
    page.rows += _guarded(lambda: _ranker(page, ranker))
    if as_json:
        print_json(page.model_dump())
    else:
        _show(page)
    raise typer.Exit(BROKEN if any(row.state == "broken" for row in page.rows) else 0)


def _guarded(check: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows of a check; one that fails is a finding itself."""
    try:
        yield from check()
    except CrossrankError as error:
        found, _, advice = str(error).partition("; ")
        yield Row(name=_name(check), state="broken", found=found, advice=advice or "reinstall crossrank")
    except Exception as error:
        found = f"{type(error).__name__}: {first_line(error)}"
        yield Row(name=_name(check), state="broken", found=found, advice="report it with this page")


def _name(check: Callable[[], Iterator[Row]]) -> str:
    return "ranker" if check.__name__ == "<lambda>" else check.__name__.lstrip("_")


def _wheels() -> Iterator[Row]:
    from crossrank.inference.session import require_onnxruntime

    providers = require_onnxruntime().get_available_providers()
    yield Row(name="providers", state="ok", found=", ".join(providers))


def _processor() -> Iterator[Row]:
    from crossrank.machine import cgroup_cores, cgroup_version, cpu_flags, instruction_set, usable_cores

    target = instruction_set()
    flags = sorted(cpu_flags() & {"avx2", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"})
    slow = "" if target != "any" else "int8 graphs do not run here; choose a machine with AVX2, or another variant"
    found = f"{target} ({', '.join(flags)})" if flags else target
    yield Row(name="instruction set", state="warning" if slow else "ok", found=found, advice=slow)
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    version = cgroup_version()
    quota = f"cgroup v{version} allows {cgroup_cores() or 'all'}" if version else "no cgroup"
    yield Row(
        name="cores",
        state="ok",
        found=f"{usable_cores()} usable; {os.cpu_count()} processors, {seen} by affinity, {quota}",
    )


def _memory() -> Iterator[Row]:
    from crossrank.machine import memory_limit

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()
    usable = min(total, limit or total)
    small = "training needs more, and serving large requests may" if usable < 2 * _GIB else ""
    found = f"{usable / _GIB:.1f} GiB; {'no cgroup limit' if limit is None else 'limited by a cgroup'}"
    yield Row(name="memory", state="warning" if small else "ok", found=found, advice=small)


def _places() -> Iterator[Row]:
    home = os.environ.get("HOME")
    cache = os.environ.get("HF_HOME") or (f"{home}/.cache/huggingface" if home else None)
    places = {"HOME": home, "Hugging Face cache": cache, "temporary files": tempfile.gettempdir(), "here": os.getcwd()}  # noqa: PTH109
    for name, place in places.items():
        if place is None:
            yield Row(name=name, state="warning", found="not set", advice="set HOME to load models from the hub")
            continue
        existing = next(path for path in (Path(place), *Path(place).absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        advice = ""
        if not os.access(existing, os.W_OK | os.X_OK):
            advice = "not writable: give rights, or write elsewhere"
        elif free < _GIB:
            advice = "free some space: models and runs need more"
        found = f"{place}, {free / _GIB:.1f} GiB free{'' if existing == Path(place) else ', not made yet'}"
        yield Row(name=name, state="warning" if advice else "ok", found=found, advice=advice)


def _proxies() -> Iterator[Row]:
    spellings = (spelling for proxy in _PROXIES for spelling in (proxy, proxy.upper()))
    proxies = {name: os.environ[name] for name in spellings if os.environ.get(name)}
    if not proxies:
        yield Row(name="proxies", state="ok", found="none in the environment")
        return
    # A proxy's address may hold a password.
    found = ", ".join(f"{name} ({_host(value)})" for name, value in proxies.items())
    found += f", exceptions {'set' if os.environ.get('no_proxy') or os.environ.get('NO_PROXY') else 'not set'}"
    advice = (
        "targets on this machine bypass it; for RankClient and --target elsewhere, and for the Hugging Face hub, it "
        "holds: name inner hosts in no_proxy"
    )
    yield Row(name="proxies", state="warning", found=found, advice=advice)


def _host(proxy: str) -> str:
    try:
        return urlsplit(proxy if "//" in proxy else f"//{proxy}").hostname or "unreadable"
    except ValueError:
        return "unreadable"


def _environment() -> Iterator[Row]:
    names = sorted(name for name in os.environ if name.startswith(_PREFIXES))
    yield Row(name="environment", state="ok", found=", ".join(names) or "nothing of ours is set")


def _ports() -> Iterator[Row]:
    from crossrank.serve.settings import ServerSettings

    for option, name in (("--port", "port"), ("--http-port", "http_port")):
        port = ServerSettings.model_fields[name].default
        try:
            with socket.create_server(("127.0.0.1", port)):
                yield Row(name=f"port {port}", state="ok", found="free")
        except OSError as error:
            who = (
                "in use by a gRPC server that is healthy"
                if _answers(port)
                else f"not free: {os.strerror(error.errno or 0)}"
            )
            yield Row(name=f"port {port}", state="warning", found=who, advice=f"serve with another {option}")


def _answers(port: int) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _ranker(page: Page, name: str | None) -> Iterator[Row]:
    from crossrank.inference.queue.throughput import measure_throughput
    from crossrank.inference.ranker.directory import open_ranker
    from crossrank.inference.ranker.hub import locate_ranker
    from crossrank.inference.scorer import Scorer

    opened = open_ranker(locate_ranker(name))
    started = time.perf_counter()
    with Scorer.open(opened.directory) as scorer:
        seconds = time.perf_counter() - started
        variant = next(each for each in opened.manifest.variants if each.file == scorer.variant.file)
        logits, _ = scorer.golden()
        errors = [abs(float(got) - pair.logit) for got, pair in zip(logits, variant.golden, strict=True)]
        page.golden_error = max(errors)
        page.pairs_per_second = round(measure_throughput({"": scorer}, rounds=3)[""], 1)
        found = (
            f"{variant.name}: {len(errors)} golden pairs right, largest error {page.golden_error:.2g}; "
            f"{page.pairs_per_second:.0f} pairs/s, loaded in {seconds:.1f} s"
        )
        yield Row(name="ranker", state="ok", found=found)
        for rejected in scorer.rejected_variants:
            advice = "export the ranker on this machine to use a faster variant"
            yield Row(name="variant", state="warning", found=rejected, advice=advice)


def _show(page: Page) -> None:
    width = max(40, min(200, shutil.get_terminal_size((120, 24)).columns))
    indent = " " * 28
    for row in page.rows:
        head = f"{row.state:<8} {row.name:<18} "
        text = row.found + (f" → {row.advice}" if row.advice else "")
        print_line(textwrap.fill(text, width, initial_indent=head, subsequent_indent=indent))
