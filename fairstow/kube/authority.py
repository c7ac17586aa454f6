"""Keys and certificates: made, signed, and read back as the facts that decisions need.

Called by controllers/certs (material) and `certificates` (facts). Keys are P-256. Everything is PEM
as Kubernetes keeps it in Secrets.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BACKDATED = timedelta(hours=1)
"""Clocks of nodes differ: a certificate is good from a while before it was made."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a certificate says.

    Attributes:
        id: of its key, as others name it when they were signed with it.
        issuer: the id of the key that signed it; its own for an authority.
        user: the common name.
        hosts: DNS names it serves under.
    """

    id: str
    issuer: str
    user: str
    hosts: frozenset[str]
    created: datetime
    expires: datetime


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


def new_authority(name: str, lifetime: timedelta, now: datetime) -> KeyPair:
    """Return a self-signed authority that may sign leaves and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, key.public_key(), lifetime, now)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: KeyPair, user: str, hosts: tuple[str, ...], lifetime: timedelta, now: datetime
) -> KeyPair:
    """Return a certificate signed by `authority`: a server's if it has hosts, else a client's."""
    signer = x509.load_pem_x509_certificate(authority.certificate)
    signing_key = _private(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
    builder = (
        _builder(subject, key.public_key(), lifetime, now)
        .issuer_name(signer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return _pair(builder.sign(signing_key, hashes.SHA256()), key)


def read(certificate: bytes, key: bytes) -> Certificate | None:
    """Return what a certificate says; None if it can't be read or the key isn't its own."""
    try:
        parsed, own = x509.load_pem_x509_certificate(certificate), _private(key)
        matches = parsed.public_key() == own.public_key()
        return _facts(parsed) if matches else None
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return None


def read_bundle(bundle: bytes) -> tuple[tuple[Certificate, bytes], ...]:
    """Return each certificate of a bundle with its own PEM; none if it can't be read."""
    try:
        parsed = x509.load_pem_x509_certificates(bundle)
        return tuple(
            (_facts(each), each.public_bytes(serialization.Encoding.PEM)) for each in parsed
        )
    except (ValueError, x509.ExtensionNotFound):
        return ()


def _facts(certificate: x509.Certificate) -> Certificate:
    extensions = certificate.extensions
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    signer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        hosts = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = frozenset(hosts.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        dns = frozenset()
    return Certificate(
        id=own.hex(),
        issuer=(signer or b"").hex(),
        user=str(names[0].value) if names else "",
        hosts=dns,
        created=certificate.not_valid_before_utc + _BACKDATED,
        expires=certificate.not_valid_after_utc,
    )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic-curve key")
    return key
