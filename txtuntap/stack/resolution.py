"""
The addresses of a host on its link: resolution of other stations' addresses, and the detection of stations that claim
one of the host's own.
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

#: The rate limit of log lines about addresses that other stations take and give up: the largest burst, and the lines a
#: second in the long run. It is needed because anyone on the link can cause such a line.
LINES_BURST, LINES_RATE = 6.0, 1 / 60


class Resolution:
    """
    Resolves addresses for a host and claims its own: by ARP for IPv4, and by neighbour discovery for IPv6.

    If another station has an address of the host, the host suspends the address until no other station has it.

    @ivar guard: claims and defends the host's addresses.
    @ivar arp: the layer of ARP, for IPv4.
    @ivar ndp: the neighbour discovery, for IPv6.
    """

    __slots__ = (
        "_addresses",
        "_announced",
        "_failures",
        "_ip",
        "_lines",
        "_lost",
        "_neighbours",
        "_now",
        "_regained",
        "arp",
        "guard",
        "ndp",
    )

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
        @param ip: the IP layer of the host.
        @param addresses: the addresses of the host.
        @param ethernet: the Ethernet layer of the host.
        @param neighbours: the cache of the resolved stations.
        @param answered: the addresses of AnyIP networks for which the host answers, too.
        @param clock: the reactor of the host.
        @param random: chooses the delays of the guard.
        @param announced: called when an address has been announced, because no other station has it.
        @param lost: the program's callback for a suspended address. It is called with the address as text and the link
            address of the station that has it.
        @param regained: the program's callback for an address that is no longer suspended. It is called with the
            address as text.
        @param failures: logs the exceptions that these two callbacks raise.
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
        Send a request for the link address of the station that has a packed address.

        @param station: the link address of the station to ask. C{None}: all stations are asked.
        """
        self._protocol(address).solicit(address, station)

    def claimAll(self) -> None:
        """
        Claim all addresses of the host, because the link has come up.
        """
        for address in self._addresses.given:
            self.guard.claim(address)

    def stop(self) -> None:
        """
        Stop, because the host is on no link any more. No station can have an address of the host then, so all suspended
        addresses are resumed.
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
        Stop using an address of the host, because another station has it.
        """
        if address in self._addresses.suspended:
            # The program was told at the first conflict.
            return
        text = addressText(address)
        self._ip.suspendAddress(address)
        if self._lines.take(self._now()):
            self._log.warn(
                "Address {address} is taken by station {station}", address=text, station=linkAddressText(station)
            )
        self._tell("addressLost", self._lost, text, station)

    def _resume(self, address: bytes) -> None:
        """
        Use a suspended address of the host again, because no other station has it.
        """
        if address not in self._addresses.suspended:
            return
        text = addressText(address)
        self._ip.suspendAddress(address, False)
        if self._lines.take(self._now()):
            self._log.info("Address {address} is used by this host again", address=text)
        self._tell("addressRegained", self._regained, text)

    def _tell(self, name: str, callback: Callable[..., None] | None, *arguments: object) -> None:
        if callback is not None:
            try:
                callback(*arguments)
            except Exception:
                self._failures.failed(self._now(), name)
