"""
Certificates for tests, made when they are needed.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@frozen
class Certificate:
    """
    A certificate with its private key, in files.

    @ivar file: the path of a PEM file with the certificate and its private key.
    @ivar public: the path of a PEM file with the certificate alone.
    @ivar pin: the SHA-256 of the certificate, in hexadecimal digits.
    """

    file: str
    public: str
    pin: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def certificate(
    directory: Path, name: str, issuer: Certificate | None = None, days: int = 1, server: bool = False
) -> Certificate:
    """
    Make a certificate for C{name}.

    @param directory: the directory for its files.
    @param issuer: the certificate that signs it; L{None}: it is self-signed.
    @param days: the number of days from now for which it is valid. It is valid since yesterday.
    @param server: whether it may authenticate only servers.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.now(timezone.utc) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1 + days, seconds=-1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    if server:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(usage, critical=False)
    made = builder.sign(key if issuer is None else issuer.key, hashes.SHA256())
    public = made.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both, alone = directory / f"{name}.pem", directory / f"{name}.crt"
    both.write_bytes(public + private)
    alone.write_bytes(public)
    return Certificate(str(both), str(alone), sha256(made.public_bytes(Encoding.DER)).hexdigest(), made, key)
