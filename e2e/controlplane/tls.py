"""A certificate authority per cluster, and the kubeconfigs that carry its certificates.

Every connection of a local cluster is TLS with names checked on both sides, as in a real one,
so that a client which skips verification is noticed. Used by cluster.py and by tests that need
a user of their own. Keys are P-256: an RSA key takes longer to make than etcd takes to start.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VALID_FOR = datetime.timedelta(days=30)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; its own is `<folder>/ca.crt`. Everything it issues lies beside it."""

    def __init__(self, folder: Path) -> None:
        """Open the authority in `folder`, making it first where there is none."""
        self.folder = folder
        self.pair = KeyPair(folder / "ca.crt", folder / "ca.key")
        if not self.pair.cert.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = ec.generate_private_key(ec.SECP256R1())
            subject = _name("fairstow-e2e-ca", ())
            builder = _builder(subject, subject, key.public_key()).add_extension(
                x509.BasicConstraints(ca=True, path_length=0), critical=True
            )
            _write(self.pair, builder.sign(key, hashes.SHA256()), key)
        self._cert = x509.load_pem_x509_certificate(self.pair.cert.read_bytes())
        loaded = serialization.load_pem_private_key(self.pair.key.read_bytes(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded

    def issue(
        self,
        user: str,
        *,
        groups: Sequence[str] = (),
        hosts: Sequence[str] = (),
        valid_for: datetime.timedelta = VALID_FOR,
    ) -> KeyPair:
        """Sign a certificate for a client `user` in `groups`, or for a server reached as `hosts`.

        Kubernetes takes the user from the common name and the groups from the organizations.
        """
        stem = user.replace(":", "-").replace("/", "-")
        pair = KeyPair(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(_name(user, groups), self._cert.subject, key.public_key(), valid_for)
        if hosts:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        _write(pair, builder.sign(self._key, hashes.SHA256()), key)
        return pair

    def kubeconfig(self, path: Path, server: str, pair: KeyPair) -> Path:
        """Write a self-contained kubeconfig (JSON is YAML) for the holder of `pair`."""
        cluster = {"server": server, "certificate-authority-data": _base64(self.pair.cert)}
        user = {
            "client-certificate-data": _base64(pair.cert),
            "client-key-data": _base64(pair.key),
        }
        return write_kubeconfig(path, cluster, user)


def write_kubeconfig(path: Path, cluster: dict[str, str], user: dict[str, str]) -> Path:
    """Write a kubeconfig with one context, readable by its owner only."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fairstow-e2e", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [
            {"name": "fairstow-e2e", "context": {"cluster": "fairstow-e2e", "user": "user"}}
        ],
        "current-context": "fairstow-e2e",
    }
    _private(path, json.dumps(document, indent=1).encode())
    return path


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    valid_for: datetime.timedelta = VALID_FOR,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks of containers and hosts differ by seconds; a day ago is valid on all of them.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + valid_for)
    )


def _write(pair: KeyPair, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        # The service-account signer of Kubernetes reads this form of an EC key.
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    _private(pair.key, pem)


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
