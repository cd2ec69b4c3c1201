"""
The lookup of the name in a peer's endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer


@implementer(IResolutionReceiver)
class _Receiver:
    """
    Takes the addresses of a name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: list[str] = []
        self.done: Deferred[list[str]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """
        Do nothing, because a lookup is never cancelled.
        """

    def addressResolved(self, address: IAddress) -> None:
        """
        Collect an address of the name.
        """
        self._found.append(str(getattr(address, "host", "")))

    def resolutionComplete(self) -> None:
        """
        Fire the Deferred, because all addresses have been reported.
        """
        if self._found:
            self.done.callback(self._found)
        else:
            self.done.errback(DNSLookupError(f"no address of {self._name} was found"))


def lookUp(
    resolver: Any, name: str, kinds: Sequence[type[IAddress]] = (IPv4Address, IPv6Address)
) -> Deferred[list[str]]:
    """
    Find the addresses of a name.

    @param resolver: an C{IHostnameResolver}.

    @return: fires with the addresses as text, in the resolver's order; fails with C{DNSLookupError}.
    """
    receiver = _Receiver(name)
    resolver.resolveHostName(receiver, name, 0, list(kinds), "UDP")
    return receiver.done
