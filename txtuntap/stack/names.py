"""
The names that a host knows: those of a table, and those that a resolver finds which was given for that.
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

#: A host's name for itself (RFC 6761 section 6.3).
_LOCALHOST = {"localhost": ("127.0.0.1", "::1")}


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """
        See C{IHostResolution.cancel}: all has been said already.
        """


@implementer(IHostnameResolver)
class HostNames:
    """
    Finds the addresses of names. The resolver of the machine is never asked: its questions would leave from the
    machine's address.
    """

    def __init__(self, hosts: Mapping[str, str | Iterable[str]], resolver: Any = None) -> None:
        """
        @param hosts: addresses by name.
        @param resolver: an C{IHostnameResolver} or C{IResolverSimple} that is asked for names that are not in C{hosts}.

        @raise ValueError: an address is none.
        @raise TypeError: C{resolver} is of another kind.
        """
        self._hosts: dict[str, Sequence[str]] = dict(_LOCALHOST)
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
        See C{IHostnameResolver.resolveHostName}. An address as text is its own name.
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
        The first address of a name.

        @return: fires with the address as text; fails with C{DNSLookupError}.
        """
        receiver = _First(name, self._resolver is not None)
        self.resolveHostName(receiver, name)
        return receiver.done


@implementer(IResolutionReceiver)
class _First:
    """
    Takes the first address of those that are found.
    """

    def __init__(self, name: str, isAsked: bool) -> None:
        self.done: Deferred[str] = Deferred()
        self._name = name
        self._isAsked = isAsked

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """
        See C{IResolutionReceiver}.
        """

    def addressResolved(self, address: Any) -> None:
        """
        See C{IResolutionReceiver}.
        """
        if not self.done.called:
            self.done.callback(address.host)

    def resolutionComplete(self) -> None:
        """
        See C{IResolutionReceiver}.
        """
        if not self.done.called:
            why = "" if self._isAsked else ": give Host(hosts={name: address}), or Host(resolver=...)"
            self.done.errback(DNSLookupError(f"no address is known for {self._name!r}{why}"))


def hostnameResolver(resolver: Any) -> IHostnameResolver:
    """
    An C{IHostnameResolver} that asks what was given for one.

    @raise TypeError: nothing can be asked so.
    """
    if IHostnameResolver.providedBy(resolver):
        found: IHostnameResolver = resolver
        return found
    if IResolverSimple.providedBy(resolver):
        return _Simple(resolver.getHostByName)
    raise TypeError(f"a resolver is an IHostnameResolver or an IResolverSimple, not {resolver!r}")


@implementer(IHostnameResolver)
class _Simple:
    """
    Asks a resolver that finds one address.
    """

    def __init__(self, ask: Callable[..., Deferred[str]]) -> None:
        self._ask = ask

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        See C{IHostnameResolver.resolveHostName}.
        """
        done = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(done)

        def found(text: str) -> None:
            kind: Any = IPv6Address if ":" in text else IPv4Address
            if addressTypes is None or kind in addressTypes:
                resolutionReceiver.addressResolved(kind(transportSemantics, text, portNumber))

        answer = self._ask(hostName)
        answer.addCallback(found).addErrback(lambda _: None)
        answer.addCallback(lambda _: resolutionReceiver.resolutionComplete())
        return done
