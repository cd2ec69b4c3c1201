"""
Name resolution of a host: by a table of names, and by a resolver that the program gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
    IResolverSimple,
)
from zope.interface import implementer

from txtuntap.mistakes import checkText, listed
from txtuntap.wire.address import addressText, packAddress

#: The names that every host resolves to itself (RFC 6761 section 6.3).
_LOCALHOST: dict[str, Sequence[str]] = {"localhost": ("127.0.0.1", "::1")}


@implementer(IHostResolution)
class _Resolution:
    """
    A resolution that cannot be cancelled.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """
        Do nothing: see C{IHostResolution.cancel}.
        """


@implementer(IHostnameResolver)
class HostNames:
    """
    Resolves names to addresses. The resolver of the operating system is never asked, because its queries would have the
    address of the operating system as their source, and not that of the host.
    """

    def __init__(self, hosts: Mapping[str, str | Iterable[str]], resolver: Any = None) -> None:
        """
        @param hosts: one address or several as text, by name.
        @param resolver: an C{IHostnameResolver} or C{IResolverSimple} that resolves the names not in C{hosts}.

        @raise ValueError: a text in C{hosts} is no IP address.
        @raise TypeError: C{resolver} provides neither interface.
        """
        # Most hosts are given no names, so they share one table.
        self._hosts: dict[str, Sequence[str]] = dict(_LOCALHOST) if hosts else _LOCALHOST
        for name, addresses in hosts.items():
            checkText(name, "the name of a host", "www.example.com")
            each = [addresses] if isinstance(addresses, str) else listed(addresses, f"hosts[{name!r}]", "10.0.0.1")
            self._hosts[name.lower().rstrip(".")] = [addressText(packAddress(text)) for text in each]
        self._resolver: Any = None
        if resolver is not None:
            self._resolver = hostnameResolver(resolver)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Resolve a name: see C{IHostnameResolver.resolveHostName}. The text of an IP address resolves to that address.
        """
        try:
            found: Sequence[str] | None = [addressText(packAddress(hostName))]
        except ValueError:
            found = self._hosts.get(hostName.lower().rstrip("."))
        if found is None and self._resolver is not None:
            resolution: IHostResolution = self._resolver.resolveHostName(
                resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
            )
            return resolution
        done = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(done)
        for text in found or ():
            kind: Any = IPv6Address if ":" in text else IPv4Address
            if addressTypes is None or kind in addressTypes:
                resolutionReceiver.addressResolved(kind(transportSemantics, text, portNumber))
        resolutionReceiver.resolutionComplete()
        return done

    def lookup(self, name: str) -> Deferred[str]:
        """
        Resolve a name to the first of its addresses.

        @return: a Deferred that fires with the address as text, or fails with C{DNSLookupError}.
        """
        receiver = _FirstAddress(name, self._resolver is not None)
        self.resolveHostName(receiver, name)
        return receiver.done


@implementer(IResolutionReceiver)
class _FirstAddress:
    """
    Receives the addresses of a name, and keeps the first one.

    @ivar done: fires with the address as text, or fails with C{DNSLookupError} if the name has none.
    """

    def __init__(self, name: str, hasResolver: bool) -> None:
        self.done: Deferred[str] = Deferred()
        self._name = name
        self._hasResolver = hasResolver

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """
        Do nothing: see C{IResolutionReceiver.resolutionBegan}.
        """

    def addressResolved(self, address: Any) -> None:
        """
        Fire C{done} with the first address: see C{IResolutionReceiver.addressResolved}.
        """
        if not self.done.called:
            self.done.callback(address.host)

    def resolutionComplete(self) -> None:
        """
        Fail C{done} if there was no address: see C{IResolutionReceiver.resolutionComplete}.
        """
        if not self.done.called:
            advice = "" if self._hasResolver else ": give Host(hosts={name: address}), or Host(resolver=...)"
            self.done.errback(DNSLookupError(f"no address is known for {self._name!r}{advice}"))


def hostnameResolver(resolver: Any) -> IHostnameResolver:
    """
    Adapt a resolver to C{IHostnameResolver}.

    @param resolver: an C{IHostnameResolver} or C{IResolverSimple}.

    @raise TypeError: C{resolver} provides neither interface.
    """
    if IHostnameResolver.providedBy(resolver):
        found: IHostnameResolver = resolver
        return found
    if IResolverSimple.providedBy(resolver):
        return _SimpleResolver(resolver.getHostByName)
    raise TypeError(f"a resolver is an IHostnameResolver or an IResolverSimple, not {resolver!r}")


@implementer(IHostnameResolver)
class _SimpleResolver:
    """
    Adapts an C{IResolverSimple}, which finds one address of a name, to C{IHostnameResolver}.
    """

    def __init__(self, getHostByName: Callable[..., Deferred[str]]) -> None:
        self._getHostByName = getHostByName

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Resolve a name to its one address: see C{IHostnameResolver.resolveHostName}.
        """
        done = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(done)

        def found(text: str) -> None:
            kind: Any = IPv6Address if ":" in text else IPv4Address
            if addressTypes is None or kind in addressTypes:
                resolutionReceiver.addressResolved(kind(transportSemantics, text, portNumber))

        answer = self._getHostByName(hostName)
        answer.addCallback(found).addErrback(lambda _: None)
        answer.addCallback(lambda _: resolutionReceiver.resolutionComplete())
        return done
