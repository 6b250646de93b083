"""Targets, retries, load balancing and limits of the clients' gRPC channels."""

import json
import os
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from crossrank.errors import UsageError
from crossrank.v1 import ranker_pb2

DEFAULT_TARGET = "127.0.0.1:50051"
TIMEOUT = 30.0

_SERVICES = [service.full_name for service in ranker_pb2.DESCRIPTOR.services_by_name.values()]
# Calls go to the servers that say that they are SERVING; one without a health service counts as such.
_HEALTH_CHECKS = {"healthCheckConfig": {"serviceName": ranker_pb2.DESCRIPTOR.services_by_name["RankService"].full_name}}
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Retries would multiply an overload by four. A refused call costs a token, an answered one gives back a tenth;
    # below half of them nothing is tried again.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
_METHODS = {
    "name": [{"service": name} for name in _SERVICES],
    "retryPolicy": {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    },
}
_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # A request that does not fit into this buffer, 256 KiB by default, is never tried again.
    ("grpc.per_rpc_retry_buffer_size", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A peer that is gone without a word is noticed before the deadline of a call.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
# In gRPC's order.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
# The schemes of gRPC's own name syntax; such a target is passed on as it is.
_SCHEMES = ("dns:", "unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")


def uri_of(target: str | Sequence[str]) -> str:
    """The target in gRPC's name syntax.

    Args:
        target: "host:port", "[ipv6]:port", "unix:path", "dns:///host:port" or another name of gRPC; or several
            "ip:port" of one family.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(target, str):
        if not target.startswith(_SCHEMES):
            _host(target)
        return target
    if len(target) == 1:
        return uri_of(target[0])
    families = {_family(address) for address in target}
    if len(families) != 1:
        raise UsageError("target: give one address, or several of one family, IPv4 or IPv6")
    return f"{families.pop()}:{','.join(target)}"


def options_of(uri: str, *, health_checks: bool, wait_for_ready: bool) -> list[tuple[str, str | int]]:
    """The options of a channel to that target; no proxy of the environment leads to this machine itself."""
    methods = [_METHODS | {"waitForReady": wait_for_ready}]
    config = _SERVICE_CONFIG | {"methodConfig": methods} | (_HEALTH_CHECKS if health_checks else {})
    options: list[tuple[str, str | int]] = [*_OPTIONS, ("grpc.service_config", json.dumps(config))]
    return [*options, ("grpc.enable_http_proxy", 0)] if _is_local(uri) else options


def with_trace(metadata: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The metadata with the traceparent of the active span, where the program traces with OpenTelemetry."""
    # Who has an active span has imported it.
    if "opentelemetry.trace" not in sys.modules:
        return metadata
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return (*carrier.items(), *metadata)


def proxy_of(uri: str) -> str:
    """Says which variable of the environment sends calls to that target through a proxy; empty where none does."""
    if _is_local(uri) or (not uri.startswith("dns:") and uri.startswith(_SCHEMES)):
        return ""
    name = next((name for name in _PROXIES if os.environ.get(name)), None)
    return f" (calls go through the proxy that {name} names; no_proxy excepts hosts)" if name else ""


def _host(address: str) -> str:
    try:
        parts = urlsplit(f"//{address}")
        if parts.hostname and parts.port and parts.netloc == address:
            return parts.hostname
    except ValueError:  # a port that is not a number, or half a bracket
        pass
    raise UsageError(f"target: {address!r} is not an address; write it as HOST:PORT, or [HOST]:PORT for IPv6")


def _family(address: str) -> str:
    try:
        return f"ipv{ip_address(_host(address)).version}"
    except ValueError:
        raise UsageError(
            f"target: {address!r} in a list is not an IP address; for a name with several addresses use dns:///NAME:PORT"
        ) from None


def _is_local(uri: str) -> bool:
    scheme = next((scheme for scheme in _SCHEMES if uri.startswith(scheme)), "")
    if scheme.startswith("unix"):
        return True
    if scheme in ("", "dns:", "ipv4:", "ipv6:"):
        addresses = uri.removeprefix(scheme).rpartition("/")[2].split(",")
        return all(_is_loopback(urlsplit(f"//{address}").hostname or "") for address in addresses)
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
