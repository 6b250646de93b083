"""Connections of gRPC: their address, their limits and their number."""

import resource
import socket
import stat
from pathlib import Path

from crossrank.errors import UsageError
from crossrank.serve.settings import ServerSettings

UNIX = "unix:"

# Connections at once: above, new ones are closed.
_MOST = 1000
# Calls of one connection at once: above, its client waits.
_CALLS = 1000
# File descriptors that the process keeps for its files and for other connections.
_OTHER_FILES = 24
# Milliseconds for what a new connection says first.
_HANDSHAKE = 10_000
# Milliseconds after which a silent peer with calls in flight is asked whether it lives, and for its answer.
_KEEPALIVE, _ALIVE = 60_000, 20_000
# Milliseconds between the same questions of a client; who asks more often is cut off.
_PINGS = 10_000

_ESTABLISHED = ("01", "03")  # of TCP and of Unix sockets


def connection_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """The options of a gRPC server that limit its connections."""
    return [
        ("grpc.max_allowed_incoming_connections", max(1, min(_MOST, _free_descriptors() // 2))),
        ("grpc.max_concurrent_streams", _CALLS),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE),
        ("grpc.max_connection_idle_ms", _milliseconds(settings.connection_idle)),
        ("grpc.max_connection_age_ms", _milliseconds(settings.connection_age)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(settings.connection_grace)),
        ("grpc.keepalive_time_ms", _KEEPALIVE),
        ("grpc.keepalive_timeout_ms", _ALIVE),
        ("grpc.http2.min_ping_interval_without_data_ms", _PINGS),
        # With it gRPC takes ever more of requests that nobody reads yet.
        ("grpc.http2.bdp_probe", 0),
    ]


def open_connections(address: str) -> int:
    """Counts the open connections of a listening address; 0 where the system does not tell.

    Args:
        address: "host:port" or "unix:path".
    """
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        rows = [row.split() for row in _lines("/proc/net/unix")]
        return sum(len(row) > 7 and row[7] == path and row[5] in _ESTABLISHED for row in rows)
    port = f"{int(address.rpartition(':')[2]):04X}"
    rows = [row.split() for name in ("tcp", "tcp6") for row in _lines(f"/proc/net/{name}")]
    return sum(row[1].endswith(f":{port}") and row[3] in _ESTABLISHED for row in rows)


def claim_socket(path: Path) -> None:
    """Makes room for a Unix socket: removes one that nobody answers on any more.

    Raises:
        UsageError: another server answers on it, or the path is something else.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"host: {path} is not a socket; give another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise UsageError(f"host: {path} cannot be used: {error.strerror or error}; give another path") from None
    raise UsageError(f"host: another server listens on {path}; end it, or give another path")


def _free_descriptors() -> int:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return _MOST * 2
    try:
        used = sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        used = 0
    return most - used - _OTHER_FILES


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()[1:]
    except OSError:
        return []
