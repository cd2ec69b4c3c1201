"""
Join two network namespaces by a VPN. Each end authenticates the other by a certificate that the program has just made.

    # python examples/vpn.py
    64 bytes from 10.9.0.2: icmp_seq=1 ttl=64 time=1.42 ms

The tunnel is the only connection between the namespaces. A real VPN has its ends on two machines.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import react
from twisted.internet.utils import getProcessOutput

from txtuntap import TuntapPort
from txtuntap.device import TUN
from txtuntap.device.configure import configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.tunnel import Allowed, Frames, StreamFactory, Tunnel, connecting
from txtuntap.tunnel.security import Identity


def makeCertificate(file: Path) -> str:
    """
    Write a new certificate and its private key to a file.

    @return: the SHA-256 fingerprint of the certificate, by which the other end authenticates it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, file.stem)])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.touch(0o600)
    file.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return made.fingerprint(hashes.SHA256()).hex()


def startEnd(reactor: Any, namespace: str, own: str, others: str) -> Tunnel:
    """
    Make a tunnel on a tun device in a namespace. Its peer may send from the address C{others} alone.
    """
    tunnel = Tunnel(TUN, Allowed([others]))
    device = LinuxDevice("tun0", TUN, namespace=namespace)
    TuntapPort("tun0", tunnel, reactor=reactor, device=device).startListening()
    configureInterface("tun0", addresses=[f"{own}/24"], namespace=namespace)
    return tunnel


async def main(reactor: Any, namespaces: list[str], directory: Path) -> None:
    """
    Join the namespaces, and ping one from the other.
    """
    files = [directory / "one.pem", directory / "other.pem"]
    pins = [makeCertificate(file) for file in files]
    one, other = (Identity(str(file), pins=[pin]) for file, pin in zip(files, reversed(pins), strict=True))
    addresses = "10.9.0.1", "10.9.0.2"
    listening = StreamFactory(startEnd(reactor, namespaces[0], *addresses), Frames, reactor)
    server = one.server(serverFromString(reactor, "tcp:0:interface=127.0.0.1"), reactor)
    address: Any = (await server.listen(listening)).getHost()
    factory = StreamFactory(startEnd(reactor, namespaces[1], *reversed(addresses)), Frames, reactor)
    service = connecting(other.client(clientFromString(reactor, f"tcp:127.0.0.1:{address.port}"), reactor), factory)
    service.startService()
    await service.whenConnected()
    ping = f"--net={namespaces[0]}", "ping", "-c", "3", "-i", "0.2", addresses[1]
    print((await getProcessOutput("nsenter", ping)).decode())
    await service.stopService()


if __name__ == "__main__":
    inside = "unshare", "--net", "sh", "-c", "echo; exec sleep 60"
    sleepers = [subprocess.Popen(inside, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for each in sleepers:
            assert each.stdout is not None
            # The process prints an empty line as soon as it is in its new namespace.
            if not each.stdout.readline():
                sys.exit("no network namespace can be made: run this as root")
        with TemporaryDirectory() as made:
            places = [f"/proc/{each.pid}/ns/net" for each in sleepers]
            react(lambda reactor: Deferred.fromCoroutine(main(reactor, places, Path(made))))
    finally:
        for each in sleepers:
            each.kill()
