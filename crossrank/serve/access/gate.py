"""Gate: asks every call for its key, over gRPC and HTTP, and remembers whose it is."""

import ipaddress
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
from grpc.aio import ServerInterceptor, ServicerContext

from crossrank.errors import Unauthenticated, UsageError
from crossrank.serve.access.keys import Keys
from crossrank.serve.access.tls import Certificates
from crossrank.serve.settings import Guarded, ServerSettings

# Name of the key of the call that runs; "" where none is required.
CALLER: ContextVar[str] = ContextVar("CALLER", default="")

# Holds a key: no setting, since flags and files of settings are read by others.
KEY_VARIABLE = "CROSSRANK_KEY"

_OPEN_SERVICES: dict[str, Guarded] = {
    "grpc.health.v1.Health": "health",
    "grpc.reflection.v1alpha.ServerReflection": "docs",
    "tei.v1.Info": "info",
}


class Access:
    """What a server asks of its callers.

    Args:
        settings: keys, certificates and what is open without a key.

    Attributes:
        keys: the keys.
        guarded: what needs a key beside ranking.
        certificates: of both ports; None where they speak no TLS.

    Raises:
        UsageError: a file cannot be read, or the address is open to others and nobody is asked for anything.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.keys = Keys(settings.keys, os.environ.get(KEY_VARIABLE))
        self.guarded = frozenset(settings.guard)
        self.certificates: Certificates | None = None
        if (settings.tls_cert is None) != (settings.tls_key is None):
            raise UsageError("tls_cert, tls_key: one is missing; a certificate and its key go together")
        if settings.tls_client_ca is not None and settings.tls_cert is None:
            raise UsageError("tls_client_ca: callers bring certificates over TLS only; give tls_cert and tls_key")
        if settings.tls_cert is not None and settings.tls_key is not None:
            self.certificates = Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        asked = self.keys.required or settings.tls_client_ca is not None
        if not asked and not settings.no_auth and not _is_local(settings.host):
            raise UsageError(
                f"host: {settings.host} is reached by others, and no key is asked for; give --keys, or --no-auth to "
                "let everybody in"
            )


class KeyInterceptor(ServerInterceptor):
    """Refuses gRPC calls without a key.

    Args:
        access: what is asked.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        part = _OPEN_SERVICES.get(handler_call_details.method.split("/")[1])
        if part is None or part in self._access.guarded:
            metadata = {
                name: value for name, value in handler_call_details.invocation_metadata or () if isinstance(value, str)
            }
            try:
                CALLER.set(self._access.keys.caller(metadata))
            except Unauthenticated as error:
                return _refusal(str(error))
        return await continuation(handler_call_details)


def _refusal(message: str) -> Any:
    async def refuse(_: object, context: ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

    # A stream both ways takes every kind of call.
    return grpc.stream_stream_rpc_method_handler(refuse)


def _is_local(host: str) -> bool:
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
