"""
TLS for any stream endpoint, with a certificate from each end, and the check whether an endpoint needs it.

Read RFC 5280 section 6 (path validation) first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import serverFromString
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

#: The errors of certificate validation (C{X509_V_ERR_...} of OpenSSL) that an administrator can correct, in words.
_FAULTS = {9: "is not valid yet", 10: "has expired", 26: "does not permit this use (its key usage)"}


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Identity:
    """
    The certificate of this end, and the conditions that the certificate of the peer must meet.

    The peer's certificate must meet every condition that is given. With C{trust}, it must be one of these certificates
    or be signed by one, directly or through intermediate certificates. With C{peerName}, it must contain that DNS name
    or IP address. (The host name of the endpoint is not checked, because a connecting peer has none.) With C{pins}, its
    SHA-256 digest must be one of these. Without C{trust}, the signature and the validity period of a pinned certificate
    are not checked.

    TLS 1.2 is the oldest version that is accepted. Sessions are not resumed, so the certificates are checked anew for
    each connection.
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
        @param certificate: the name of a PEM file with this end's certificate, followed by the intermediate
            certificates up to one that the peer trusts, if there are any.
        @param key: the name of a PEM file with the private key, without a passphrase; C{None}: the key is in
            C{certificate}.
        @param trust: the names of PEM files with trusted certificates.
        @param pins: the SHA-256 digests of accepted certificates (of their DER form), 64 hexadecimal digits each, with
            or without colons: the output of C{openssl x509 -noout -fingerprint -sha256}.
        @param peerName: the DNS name or IP address that the peer's certificate must be for; C{None}: any.

        @raise ImportError: pyOpenSSL is not installed.
        @raise OSError: a file cannot be read.
        @raise ValueError: there is neither C{trust} nor C{pins}, or an argument is invalid. The text says what to do.
        """
        try:
            from OpenSSL import SSL, crypto
            from twisted.internet.ssl import Certificate as TwistedCertificate
            from twisted.internet.ssl import CertificateOptions, trustRootFromCertificates

            from txtuntap.tunnel.tls import RecordsConnection, writeRecordsTogether
        except ImportError as e:
            raise ImportError(f"TLS needs more packages: pip install pyopenssl service-identity ({e})") from e
        if not trust and not pins:
            raise ValueError("a certificate to trust or a pin is needed to authenticate the peer")
        if peerName is not None and not trust:
            raise ValueError("the peer's name is checked only with a certificate to trust: give one")
        self._pins = frozenset(map(_digest, pins))
        self._trusts = bool(trust)
        self._peerName = peerName
        leaf, *chain = _certificates(certificate)
        keyFile = certificate if key is None else key
        try:
            privateKey = crypto.load_privatekey(crypto.FILETYPE_PEM, Path(keyFile).read_bytes(), b"")
        except (crypto.Error, ValueError, TypeError) as e:
            raise ValueError(f"{keyFile} has no private key in PEM, or the key needs a passphrase") from e
        roots = None
        if trust:
            roots = trustRootFromCertificates(
                [TwistedCertificate(each) for name in trust for each in _certificates(name)]
            )
        try:
            options = CertificateOptions(privateKey, leaf, extraCertChain=chain, trustRoot=roots)
            self._context = options.getContext()
            if trust:
                # A trusted certificate need not be a self-signed root.
                store = self._context.get_cert_store()
                assert store is not None
                store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        except SSL.Error as e:
            raise ValueError(f"{keyFile} is not the private key of {certificate}") from e
        self._context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verified)
        writeRecordsTogether(self._context)
        self._makeConnection = RecordsConnection
        self._error = SSL.Error

    def server(self, endpoint: IStreamServerEndpoint, clock: IReactorTime) -> IStreamServerEndpoint:
        """
        Wrap a listening endpoint in TLS.
        """
        return _ServerEndpoint(self, endpoint, clock)

    def client(self, endpoint: IStreamClientEndpoint, clock: IReactorTime) -> IStreamClientEndpoint:
        """
        Wrap a connecting endpoint in TLS.
        """
        return _ClientEndpoint(self, endpoint, clock)

    def clientConnectionForTLS(self, tlsProtocol: object) -> Connection:
        """
        Make the TLS state of a connection: see C{IOpenSSLClientConnectionCreator}.
        """
        return self._makeConnection(self._context, None)

    def serverConnectionForTLS(self, tlsProtocol: object) -> Connection:
        """
        Make the TLS state of a connection: see C{IOpenSSLServerConnectionCreator}.
        """
        return self._makeConnection(self._context, None)

    def _verified(self, connection: Connection, certificate: X509, error: int, depth: int, isGood: int) -> bool:
        """
        Accept or refuse one certificate of the peer's chain. OpenSSL calls this for each certificate, and for the
        peer's own certificate (depth 0) last. The exception of a refusal becomes the reason why the connection is lost,
        which is logged.

        @param error: OpenSSL's error code for the certificate.
        @param depth: how many signatures lie between the certificate and the peer's own.
        @param isGood: whether OpenSSL accepts the certificate.

        @return: C{True}, for a certificate that is accepted.

        @raise OpenSSL.SSL.Error: the certificate is refused.
        """
        if self._trusts and not isGood:
            whose = "a certificate that signed its certificate" if depth else "its certificate"
            raise self._refused(f"{whose} {_FAULTS.get(error, 'is not trusted')}")
        if depth:
            return True
        # The digest is taken by OpenSSL, because the library cryptography cannot parse every certificate that OpenSSL
        # accepts.
        if self._pins and _digest(certificate.digest("sha256").decode()) not in self._pins:
            raise self._refused("its certificate is not one of the pinned ones")
        if self._peerName is not None and self._peerName.lower() not in _names(certificate):
            raise self._refused("its certificate is for another name")
        return True

    def _refused(self, why: str) -> Exception:
        # The arguments have the form of OpenSSL's own errors: a list of library, function and reason.
        return self._error([("txtuntap", "", why)])


class _Secured:
    """
    An endpoint that is wrapped in TLS.
    """

    def __init__(self, identity: Identity, endpoint: Any, clock: IReactorTime) -> None:
        self._identity = identity
        self._endpoint = endpoint
        self._clock = clock

    def _secured(self, factory: Any, isClient: bool) -> Any:
        """
        Make a factory that adds TLS to the connections of C{factory}.
        """
        from txtuntap.tunnel.tls import factoryForTLS

        return factoryForTLS(self._identity, isClient, factory, self._clock)


@implementer(IStreamServerEndpoint)
class _ServerEndpoint(_Secured):
    """
    A listening endpoint that is wrapped in TLS.
    """

    def listen(self, protocolFactory: Any) -> Any:
        """
        Listen for connections and wrap each in TLS: see C{IStreamServerEndpoint}.
        """
        return self._endpoint.listen(self._secured(protocolFactory, False))


@implementer(IStreamClientEndpoint)
class _ClientEndpoint(_Secured):
    """
    A connecting endpoint that is wrapped in TLS.
    """

    def connect(self, protocolFactory: Any) -> Any:
        """
        Connect, and wrap the connection in TLS: see C{IStreamClientEndpoint}.
        """
        connecting = self._endpoint.connect(self._secured(protocolFactory, True))
        return connecting.addCallback(lambda secured: secured.wrappedProtocol)


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
    Return the DNS names and IP addresses in a certificate; none if they cannot be parsed.
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


def splitEndpoint(endpoint: str) -> tuple[str, list[str], dict[str, str]]:
    """
    Split a Twisted endpoint string into its kind, its positional arguments and its keyword arguments.
    """
    kind, *arguments = (each.replace("\\:", ":").replace("\\\\", "\\") for each in re.split(r"(?<!\\):", endpoint))
    named = dict(each.split("=", 1) for each in arguments if "=" in each)
    return kind.lower(), [each for each in arguments if "=" not in each], named


def checkServerEndpoint(endpoint: str, example: str) -> None:
    """
    Check a server endpoint, and the files that it names.

    @param endpoint: a Twisted endpoint string.
    @param example: a right one, for the text of the error.

    @raise ValueError: Twisted can make no endpoint of it.
    """
    try:
        # No reactor is needed, because the endpoint uses it only once it listens.
        serverFromString(None, endpoint)
    except OSError as e:
        raise ValueError(f"{endpoint!r} needs a file: {e}") from e
    except Exception as e:
        raise ValueError(f"{endpoint!r} is no server endpoint such as {example}: {e}") from e


def isPrivate(endpoint: str, listening: bool) -> bool:
    """
    Whether the traffic of an endpoint stays on this machine, or a C{tls} client endpoint protects it. Other endpoints
    with TLS do not count.

    @param endpoint: a Twisted endpoint string.
    @param listening: whether it is a server endpoint.
    """
    kind, arguments, named = splitEndpoint(endpoint)
    if kind == "unix":
        return True
    if not listening and kind == "tls":
        return True
    if not kind.startswith("tcp"):
        return False
    if listening:
        host = named.get("interface", "")
    else:
        # For the host, Twisted prefers the positional argument to C{host=}. A single positional argument beside
        # C{host=} is the port.
        host = arguments[0] if len(arguments) > 1 else named.get("host", (arguments or [""])[0])
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
