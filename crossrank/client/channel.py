"""Targets, retries, load balancing and limits of the clients' gRPC channels."""

import json
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
    "methodConfig": [
        {
            "name": [{"service": name} for name in _SERVICES],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
}
_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # A request that does not fit into this buffer, 256 KiB by default, is never tried again.
    ("grpc.per_rpc_retry_buffer_size", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
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


def options_of(uri: str, *, health_checks: bool) -> list[tuple[str, str | int]]:
    """The options of a channel to that target; no proxy of the environment leads to this machine itself."""
    config = _SERVICE_CONFIG | _HEALTH_CHECKS if health_checks else _SERVICE_CONFIG
    options: list[tuple[str, str | int]] = [*_OPTIONS, ("grpc.service_config", json.dumps(config))]
    return [*options, ("grpc.enable_http_proxy", 0)] if _is_local(uri) else options


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
