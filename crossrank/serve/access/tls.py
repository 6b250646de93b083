"""Certificates of both ports: read again when they change; a bad new one keeps the old."""

import ssl
from pathlib import Path

import grpc
import structlog

from crossrank.errors import UsageError
from crossrank.serve.access.watched import FileWatch

_log = structlog.get_logger()


class Certificates:
    """A certificate chain with its key, and the authority of callers where they need one of their own.

    Args:
        chain: PEM file.
        key: PEM file.
        client_authority: PEM file; callers must then bring a certificate that it signed. None: they need none.

    Raises:
        UsageError: they cannot be read, or do not belong together.
    """

    def __init__(self, chain: Path, key: Path, client_authority: Path | None) -> None:
        self._chain, self._key, self._authority = chain, key, client_authority
        files = [file for file in (chain, key, client_authority) if file is not None]
        self._grpc_watch, self._http_watch = FileWatch(*files), FileWatch(*files)
        self._context = self._opened()

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Credentials of a gRPC server, which look at the files at each handshake."""

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            return self._configuration() if self._grpc_watch.changed() and self._valid() else None

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            fetch,  # type: ignore[arg-type]  # None keeps what is in use
            require_client_authentication=self._authority is not None,
        )

    def http_context(self) -> ssl.SSLContext:
        """The context of an HTTP server; it takes changed files from the handshake on that finds them."""
        self._context.sni_callback = lambda *_: self._refresh()
        return self._context

    def _refresh(self) -> None:
        if self._http_watch.changed() and self._valid():
            self._load(self._context)
            _log.info("certificates reloaded")

    def _valid(self) -> bool:
        try:
            self._opened()
        except UsageError as error:
            _log.error("certificates not reloaded", reason=str(error))
            return False
        return True

    def _opened(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._chain, self._key)
            if self._authority is not None:
                context.load_verify_locations(self._authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            files = ", ".join(str(file) for file in (self._chain, self._key, self._authority) if file)
            raise UsageError(f"{files}: {reason}; give a PEM chain and its key") from None

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self._key.read_bytes(), self._chain.read_bytes())
        roots = self._authority.read_bytes() if self._authority else None
        return grpc.ssl_server_certificate_configuration([pair], roots)
