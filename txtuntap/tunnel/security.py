"""
TLS in which both ends show a certificate, around any plain endpoint; and which endpoints may do without.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

if TYPE_CHECKING:
    from OpenSSL.crypto import X509
    from OpenSSL.SSL import Connection

_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_DIGEST = re.compile("[0-9a-f]{64}")

#: Faults that OpenSSL finds in a certificate (X509_V_ERR_...), as far as there is something to be done about it.
_FAULTS = {9: "is not valid yet", 10: "has expired", 26: "is not meant for this (its key usage)"}


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Identity:
    """
    The identity of this end, and of those that it talks to.

    Of the peer's certificate, all that was given has to hold. A certificate of C{trust}, or one that such a one has
    signed, possibly through others: any of them, unless C{peerName} is one of the DNS names or addresses in it (host
    names of endpoints are not looked at: who connects has none, and tunnels are between two who know each other).
    C{pins}: it is one of these; if there is no C{trust}, whoever signed it and whenever it ends.

    TLS is 1.2 or newer. Nothing of a session is kept for the next: each connection shows certificates anew.
    """

    def __init__(
        self,
        certificate: str,
        key: str | None = None,
        trust: Sequence[str] = (),
        pins: Sequence[str] = (),
        peerName: str | None = None,
    ) -> None:
        """
        @param certificate: the name of a PEM file with this end's certificate, and after it those that lead from it to
            one the peer trusts, if there are such.
        @param key: of one with its private key, which nothing protects; L{None}: it is in the same file.
        @param trust: names of PEM files with certificates that are trusted.
        @param pins: SHA-256 of whole certificates (of their DER), 64 digits of hexadecimal, with or without colons: as
            C{openssl x509 -noout -fingerprint -sha256} prints it.

        @raise ImportError: pyOpenSSL is not installed.
        @raise OSError: a file cannot be read.
        @raise ValueError: there is nothing to know the peer by, or something is not what it is to be. The text says it.
        """
        try:
            from OpenSSL import SSL, crypto
            from twisted.internet.ssl import Certificate as TwistedCertificate
            from twisted.internet.ssl import CertificateOptions, trustRootFromCertificates
        except ImportError as e:
            raise ImportError(f"TLS takes more: pip install 'txtuntap[tls]' ({e})") from e
        if not trust and not pins:
            raise ValueError("a certificate to trust or a pin is needed, to know the peer by")
        if peerName is not None and not trust:
            raise ValueError("a peer's name is only worth something in a certificate of one that is trusted")
        self._pins = frozenset(map(_digest, pins))
        self._trusts = bool(trust)
        self._peerName = peerName
        leaf, *chain = _certificates(certificate)
        keyFile = certificate if key is None else key
        try:
            privateKey = crypto.load_privatekey(crypto.FILETYPE_PEM, Path(keyFile).read_bytes(), b"")
        except (crypto.Error, ValueError, TypeError) as e:
            raise ValueError(f"{keyFile} has no private key in PEM that needs no passphrase") from e
        roots = None
        if trust:
            roots = trustRootFromCertificates(
                [TwistedCertificate(each) for name in trust for each in _certificates(name)]
            )
        try:
            options = CertificateOptions(privateKey, leaf, extraCertChain=chain, trustRoot=roots)
            self._context = options.getContext()
            if trust:
                # It is trusted itself, and need not lead to one that has signed itself.
                store = self._context.get_cert_store()
                assert store is not None
                store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        except SSL.Error as e:
            raise ValueError(f"{keyFile} is not the private key of {certificate}") from e
        self._context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verified)
        self._makeConnection = SSL.Connection
        self._error = SSL.Error

    def server(self, endpoint: IStreamServerEndpoint, clock: IReactorTime) -> IStreamServerEndpoint:
        """
        The same endpoint with TLS.
        """
        return _ServerEndpoint(self, endpoint, clock)

    def client(self, endpoint: IStreamClientEndpoint, clock: IReactorTime) -> IStreamClientEndpoint:
        """
        The same endpoint with TLS.
        """
        from twisted.internet.endpoints import wrapClientTLS

        return wrapClientTLS(self, endpoint, clock)

    def clientConnectionForTLS(self, tlsProtocol: object) -> Connection:
        """
        See C{IOpenSSLClientConnectionCreator}.
        """
        return self._makeConnection(self._context, None)

    def serverConnectionForTLS(self, tlsProtocol: object) -> Connection:
        """
        See C{IOpenSSLServerConnectionCreator}.
        """
        return self._makeConnection(self._context, None)

    def _verified(self, connection: Connection, certificate: X509, error: int, depth: int, isGood: int) -> bool:
        """
        OpenSSL has come to a certificate of the peer's chain, or to a fault in it. It comes to the peer's own (depth 0)
        last, always. What is raised here, the connection ends with: the log is to say more than that it was refused.
        """
        if self._trusts and not isGood:
            whose = "a certificate of those who signed its" if depth else "its certificate"
            raise self._refused(f"{whose} {_FAULTS.get(error, 'is of nobody who is trusted')}")
        if depth:
            return True
        # By OpenSSL alone: there are certificates that it takes and others raise something at.
        if self._pins and _digest(certificate.digest("sha256").decode()) not in self._pins:
            raise self._refused("its certificate is none of those that are pinned")
        if self._peerName is not None and self._peerName.lower() not in _names(certificate):
            raise self._refused("its certificate is for another name")
        return True

    def _refused(self, why: str) -> Exception:
        # As OpenSSL's own errors are: library, function, what it was.
        return self._error([("txtuntap", "", why)])


@implementer(IStreamServerEndpoint)
class _ServerEndpoint:
    """
    A listening endpoint with TLS around it.
    """

    def __init__(self, identity: Identity, endpoint: IStreamServerEndpoint, clock: IReactorTime) -> None:
        self._identity = identity
        self._endpoint = endpoint
        self._clock = clock

    def listen(self, protocolFactory: Any) -> Any:
        """
        See C{IStreamServerEndpoint}.
        """
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return self._endpoint.listen(TLSMemoryBIOFactory(self._identity, False, protocolFactory, self._clock))


def _certificates(name: str) -> list[X509]:
    from OpenSSL import crypto

    try:
        blocks = _CERTIFICATE.findall(Path(name).read_bytes())
        found = [crypto.load_certificate(crypto.FILETYPE_PEM, each) for each in blocks]
    except (crypto.Error, ValueError) as e:
        raise ValueError(f"{name} has a certificate that cannot be read: {e}") from e
    if not found:
        raise ValueError(f"{name} has no certificate in PEM")
    return found


def _digest(pin: str) -> bytes:
    digits = pin.replace(":", "").lower()
    if not _DIGEST.fullmatch(digits):
        raise ValueError(f"a pin is a certificate's SHA-256, 64 digits of hexadecimal, not {pin!r}")
    return bytes.fromhex(digits)


def _names(certificate: X509) -> set[str]:
    """
    The DNS names and IP addresses that a certificate is for; none if they cannot be read.
    """
    from cryptography import x509

    try:
        extensions = certificate.to_cryptography().extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:
        # The library raises many kinds of errors for a malformed certificate.
        return set()
    dns = names.get_values_for_type(x509.DNSName)
    return {name.lower() for name in dns} | {str(each) for each in names.get_values_for_type(x509.IPAddress)}


def parts(endpoint: str) -> tuple[str, list[str], dict[str, str]]:
    """
    Split a Twisted endpoint string into its first word, and its arguments by position and by name.
    """
    kind, *arguments = (each.replace("\\:", ":").replace("\\\\", "\\") for each in re.split(r"(?<!\\):", endpoint))
    named = dict(each.split("=", 1) for each in arguments if "=" in each)
    return kind.lower(), [each for each in arguments if "=" not in each], named


def isPrivate(endpoint: str, listening: bool) -> bool:
    """
    Whether nothing of what goes through an endpoint leaves this machine, or TLS protects it.

    @param endpoint: a Twisted endpoint string.
    @param listening: whether it is a server's.
    """
    kind, arguments, named = parts(endpoint)
    if kind == "unix":
        return True
    if not listening and kind == "tls":
        return True
    if not kind.startswith("tcp"):
        return False
    if listening:
        host = named.get("interface", "")
    else:
        # Twisted believes the position before the name; but what stands alone beside host= is the port.
        host = arguments[0] if len(arguments) > 1 else named.get("host", (arguments or [""])[0])
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
