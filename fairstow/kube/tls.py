"""A server's certificates, read anew when their files change, without dropping anybody.

Used by the extender and the webhook.

Kubernetes replaces the files of a mounted Secret while we run. New handshakes then use the new
certificate and trust the new authority; connections that are open stay open. Files that don't fit
together, as in the middle of a change, leave things as they were until the next look.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

LOOK_EVERY_SECONDS = 2.0

log = structlog.get_logger(__name__)


class CertificateError(Exception):
    """The files can't be used; the message names them and says why."""


@dataclass(frozen=True)
class CertificateFiles:
    """Where the certificates are.

    Attributes:
        certificate: the chain we present, PEM.
        key: its private key, PEM.
        client_ca: whoever calls must hold a certificate that one of these signed; None: anybody.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def fingerprint(self) -> bytes:
        """Return a digest of what the files hold.

        Raises:
            CertificateError: one can't be read.
        """
        digest = hashlib.sha256()
        for path in filter(None, (self.certificate, self.key, self.client_ca)):
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise CertificateError(f"{path} can't be read: {error.strerror}") from error
        return digest.digest()

    def context(self) -> ssl.SSLContext:
        """Return what a server needs for handshakes.

        Raises:
            CertificateError: the files aren't certificates, or don't belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # A resumed session would still be trusted by the authority before.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"{self.certificate} and {self.key} aren't a certificate and its key ({error})"
            ) from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ValueError) as error:
                raise CertificateError(
                    f"{self.client_ca} holds no certificates ({error})"
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def self_signed(name: str) -> ssl.SSLContext:
    """Return what a server needs to encrypt, though nobody can verify it: keys in memory."""
    from fairstow.kube import authority

    now, lifetime = datetime.now(UTC), timedelta(days=365)
    signer = authority.new_authority(name, lifetime, now)
    pair = authority.issue(signer, name, (name,), lifetime, now)
    with tempfile.TemporaryDirectory() as folder:
        files = CertificateFiles(Path(folder, "tls.crt"), Path(folder, "tls.key"))
        files.certificate.write_bytes(pair.certificate)
        files.key.write_bytes(pair.key)
        return files.context()


class Certificates:
    """A server's certificates as they are now.

    Attributes:
        context: give this one to the server. Every handshake begins in it and goes on in the
            latest one.
        trouble: why the files couldn't be used at first, "" if they could.
    """

    def __init__(
        self, files: CertificateFiles, *, stand_in: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        """Read the files.

        Args:
            files: where they are.
            stand_in: what to use until they can be.

        Raises:
            CertificateError: they can't be used, and there is no stand-in.
        """
        self._files = files
        self._fingerprint, self.trouble = b"", ""
        try:
            fingerprint = files.fingerprint()
            self.context = files.context()
            self._fingerprint = fingerprint
        except CertificateError as error:
            if stand_in is None:
                raise
            self.context, self.trouble = stand_in(), str(error)
            log.warning("no certificate yet, one of our own until there is", error=str(error))
        self._latest = self.context
        self.context.sni_callback = self._take_latest

    def refresh(self) -> bool:
        """Read the files again if they have changed; return whether new ones are in use.

        Raises:
            CertificateError: they changed and can't be used; the ones before stay.
        """
        fingerprint = self._files.fingerprint()
        if fingerprint == self._fingerprint:
            return False
        self._latest = self._files.context()
        self._fingerprint = fingerprint
        return True

    def _take_latest(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _own: ssl.SSLContext
    ) -> None:
        if self._latest is not self.context:
            connection.context = self._latest


async def keep_fresh(certificates: Certificates) -> None:
    """Look at the files from time to time, for ever."""
    said = certificates.trouble
    while True:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        try:
            if certificates.refresh():
                log.info("certificates reloaded")
            said = ""
        except CertificateError as error:
            if str(error) != said:
                said = str(error)
                log.error("certificates not reloaded, those before stay in use", error=said)
