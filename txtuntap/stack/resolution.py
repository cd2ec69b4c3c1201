"""
Addresses on the link of a host: the stations of others are found, and the host's own addresses stay its own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from txtuntap.ethernet import EthernetProtocol
from txtuntap.ip.addresses import Addresses
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.life import FailureLog
from txtuntap.layer.timer import steadySeconds
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.stack.anyip import AnsweredNetworks
from txtuntap.stack.arp import ARPProtocol
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.ndp import NeighbourDiscovery
from txtuntap.stack.neighbours import NeighbourCache
from txtuntap.wire.address import addressText, linkAddressText

#: Lines that are logged of addresses that others take and leave: at once, and a second in the long run. Anybody on the
#: link can cause them.
LINES_BURST, LINES_RATE = 6.0, 1 / 60


class Resolution:
    """
    Address resolution of a host: by ARP for IPv4, by neighbour discovery for IPv6.

    An address of the host that another station has is suspended until nobody else has it.

    @ivar guard: claims and defends the host's addresses.
    @ivar arp: resolves for IPv4.
    @ivar ndp: resolves for IPv6.
    """

    _log = Logger()

    def __init__(
        self,
        ip: IPProtocol,
        addresses: Addresses,
        ethernet: EthernetProtocol,
        neighbours: NeighbourCache,
        answered: AnsweredNetworks,
        clock: IReactorTime,
        random: Random,
        announced: Callable[[], None],
        lost: Callable[[str, bytes], None] | None,
        regained: Callable[[str], None] | None,
        failures: FailureLog,
    ) -> None:
        """
        @param addresses: the host's own.
        @param neighbours: the stations that have been found.
        @param answered: addresses that are answered for besides the host's own.
        @param announced: called when an address has been announced: nobody else has it.
        @param lost: the program's: called with an address of the host (text) that another has, and that station.
        @param regained: the program's: called with an address that was lost and is the host's again.
        @param failures: logs what these two raise.
        """
        self._ip = ip
        self._addresses = addresses
        self._neighbours = neighbours
        self._now = steadySeconds(clock)
        self._announced = announced
        self._lost = lost
        self._regained = regained
        self._failures = failures
        self._lines = TokenBucket(LINES_RATE, LINES_BURST)
        self.guard = AddressGuard(clock, random, self._probe, self._announce, self._suspend, self._resume)
        self.arp = ARPProtocol(ethernet, addresses, neighbours, self.guard, answered)
        self.ndp = NeighbourDiscovery(ip, addresses, neighbours, self.guard, answered)

    def solicit(self, address: bytes, station: bytes | None) -> None:
        """
        Ask who has a packed address.

        @param station: the station to ask; L{None}: all of them.
        """
        self._protocol(address).solicit(address, station)

    def claimAll(self) -> None:
        """
        Claim all addresses of the host: the link is there, or there again.
        """
        for each in self._addresses.given:
            self.guard.claim(each.packed)

    def stop(self) -> None:
        """
        Claim nothing any more: the link is gone, and so is everybody who could have an address of the host.
        """
        self.guard.clear()
        self._neighbours.clear()
        for address in list(self._addresses.suspended):
            self._resume(address)

    def _protocol(self, address: bytes) -> ARPProtocol | NeighbourDiscovery:
        return self.arp if len(address) == 4 else self.ndp

    def _probe(self, address: bytes) -> None:
        self._protocol(address).probe(address)

    def _announce(self, address: bytes) -> None:
        self._protocol(address).announce(address)
        self._announced()

    def _suspend(self, address: bytes, station: bytes) -> None:
        """
        Another station has an address of the host.
        """
        if address in self._addresses.suspended:
            # The program knows already.
            return
        text = addressText(address)
        self._ip.suspendAddress(address)
        if self._lines.take(self._now()):
            self._log.warn("{address} is taken by {station}", address=text, station=linkAddressText(station))
        self._tell("addressLost", self._lost, text, station)

    def _resume(self, address: bytes) -> None:
        """
        An address of the host turned out to be no other station's.
        """
        if address not in self._addresses.suspended:
            return
        text = addressText(address)
        self._ip.suspendAddress(address, False)
        if self._lines.take(self._now()):
            self._log.info("{address} is ours again", address=text)
        self._tell("addressRegained", self._regained, text)

    def _tell(self, name: str, callback: Callable[..., None] | None, *arguments: object) -> None:
        if callback is not None:
            try:
                callback(*arguments)
            except Exception:
                self._failures.failed(self._now(), name)
