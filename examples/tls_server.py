"""
Run a web server with TLS at an address of its own, with a new certificate at each start.

    python examples/tls_server.py [FILE]

Run it as root. The program makes tap0, with the server at 10.0.0.2 and fd00::2. The certificate is self-signed, so a
browser warns: compare the browser's SHA-256 fingerprint with the one printed here. The program writes the certificate
to FILE, and a client that has FILE can verify the server. The first of these commands does not verify it, the second
one does:

    $ curl --insecure https://10.0.0.2/
    $ curl --cacert FILE https://[fd00::2]/
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface

ADDRESSES = "10.0.0.2", "fd00::2"


def makeCertificate() -> tuple[x509.Certificate, bytes]:
    """
    Make a self-signed certificate for the addresses, valid for a day.

    @return: the certificate, and its private key as PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "txtuntap's example")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address)) for address in ADDRESSES])
    made = builder.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
    return made, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def main(reactor: Any, file: str | None = None) -> Deferred[None]:
    """
    Put a host on a tap, and a site with TLS on the host.
    """
    certificate, key = makeCertificate()
    public = certificate.public_bytes(Encoding.PEM)
    if file is not None:
        Path(file).write_bytes(public)
    root = Resource()
    root.putChild(b"", Data(b"This page came over TLS.\n", "text/plain"))
    host = Host([f"{ADDRESSES[0]}/24", f"{ADDRESSES[1]}/64"], reactor)
    host.listenSSL(443, Site(root), PrivateCertificate.loadPEM(public + key).options())
    TuntapPort("tap0", host.ethernet, reactor=reactor).startListening()
    configureInterface("tap0", ["10.0.0.1/24", "fd00::1/64"])
    print("ready: https://10.0.0.2/ https://[fd00::2]/", flush=True)
    print("SHA-256", certificate.fingerprint(hashes.SHA256()).hex(":"), flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
