"""
Stateless address autoconfiguration (RFC 4862, RFC 4861 section 6.3): addresses, routes and a router by what routers
advertise. No router proves that it is one, so a host believes advertisements only where the
program says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ipaddress import IPv6Network
from random import Random

import attrs
from twisted.internet.interfaces import IReactorTime

from txtuntap.ip.addresses import Addresses
from txtuntap.ip.input import IPProtocol
from txtuntap.ip.pathmtu import FLOOR
from txtuntap.ip.routes import StaticRoutes
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.prefixes import Network, PrefixTable
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.neighbours import NeighbourCache
from txtuntap.wire.address import addressText, isHost, isLinkLocal, isMulticast
from txtuntap.wire.ndp import Prefix, RouterAdvertisement

#: Prefixes that addresses are formed with; as many that are on the link; and routers. At the bound, what is new is
#: ignored: what is in use stays.
MAX_PREFIXES = 16
MAX_ROUTERS = 8

#: RFC 4861 section 10: MAX_RTR_SOLICITATION_DELAY, RTR_SOLICITATION_INTERVAL (seconds), MAX_RTR_SOLICITATIONS.
SOLICIT_DELAY = 1.0
SOLICIT_INTERVAL = 4.0
SOLICITATIONS = 3

#: Seconds that an address in use is left at least, however short a router says its lifetime is: otherwise one forged
#: message would be enough to take all addresses away (RFC 4862 section 5.5.3e).
TWO_HOURS = 2 * 60 * 60.0

#: Seconds after which a prefix, or an MTU, that no router advertises any more is forgotten, when a router advertises
#: others. A router advertises all it has every half an hour at the latest (RFC 4861 section 6.2.1). Without this bound,
#: one forged message could fill the tables for ever. (Where no router advertises anything, lifetimes alone count.)
ADVERTISEMENT_MAX_AGE = 24 * 60 * 60.0

#: The length, in bits, of a prefix that addresses are formed with: the identifier has the other half (RFC 4291
#: section 2.5.1).
_PREFIX_LENGTH = 64


class AutoconfiguredRoutes(StaticRoutes):
    """
    A table of static routes, and of those that routers advertise. The longest prefix wins; of two alike, the static
    one.

    @ivar onLink: networks that are said to be on the link, and for how long.
    @ivar routers: default routers: for how long each is one, by packed address.
    """

    def __init__(self, neighbours: NeighbourCache) -> None:
        """
        @param neighbours: tells which routers are there.
        """
        super().__init__()
        self._neighbours = neighbours
        self.onLink: PrefixTable[Timer] = PrefixTable()
        self.routers: Table[bytes, Timer] = Table("routers", MAX_ROUTERS, Policy.REFUSE)

    @property
    def gateways(self) -> set[bytes]:
        """
        The packed addresses of all next hops.
        """
        return super().gateways | self.routers.keys()

    def isGateway(self, address: bytes) -> bool:
        """
        Whether a packed address is that of a next hop.
        """
        return address in self.routers or super().isGateway(address)

    def lookup(self, dest: bytes) -> bytes | None:
        """
        See L{IRoutes.lookup<txtuntap.interfaces.IRoutes.lookup>}.
        """
        static, advertised = self._routes.match(dest), self.onLink.match(dest)
        if advertised is not None and (static is None or advertised[0] > static[0]):
            return dest
        if static is not None:
            return static[1] or dest
        return self._router() if self.routers and len(dest) == 16 else None

    def _router(self) -> bytes:
        """
        A default router: one that is known to be there, or else each after another (RFC 4861 section 6.3.6).
        """
        for router in self.routers:
            if router in self._neighbours.entries:
                return router
        router = next(iter(self.routers))
        self.routers.move_to_end(router)
        return router


@attrs.define
class _Formed:
    """
    An address formed with a prefix.

    @ivar removed: whether it was, by the program: it is not formed again.
    """

    address: bytes
    valid: Timer
    preferred: Timer
    removed: bool = False


class Autoconfiguration:
    """
    Does what routers on a link tell hosts to do: addresses are formed with their prefixes, claimed, deprecated and
    removed in time; networks are on the link or no longer; routers and the MTU are used. The rest of what they tell
    (hop limit, reachable time, retransmission timer) changes nothing here.

    Counters: C{inPrefixErrors} (prefixes that no address can be formed with: of another length than 64, say, or
    preferred for longer than they are valid), C{inMTUErrors} (MTUs that cannot be), C{prefixDiscards},
    C{routerDiscards} (no room).
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        ip: IPProtocol,
        addresses: Addresses,
        routes: AutoconfiguredRoutes,
        guard: AddressGuard,
        identifier: bytes,
        solicit: Callable[[], None],
    ) -> None:
        """
        @param ip: the IP layer; C{addresses}: its addresses; C{routes}: its routes.
        @param guard: asks whether somebody has an address.
        @param identifier: the last eight octets of the addresses.
        @param solicit: called to ask for routers.
        """
        self.counters = Counters()
        self._clock = clock
        self._now = steadySeconds(clock)
        self._random = random
        self._ip = ip
        self._addresses = addresses
        self._routes = routes
        self._guard = guard
        self._identifier = identifier
        self._solicit = solicit
        self._asked = 0
        self._asking = Timer(clock, self._ask)
        self._formed: Table[bytes, _Formed] = Table("prefixes of addresses", MAX_PREFIXES, Policy.REFUSE)
        # When each prefix was last advertised, and the MTU.
        self._lastAdvertised: dict[Network | bytes, float] = {}
        self._mtuLastAdvertised = 0.0

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        onLink = TableState("prefixes on the link", len(self._routes.onLink), MAX_PREFIXES, Policy.REFUSE.value)
        return [self._routes.routers.state, onLink, self._formed.state]

    def start(self) -> None:
        """
        Begin to ask for routers (RFC 4861 section 6.3.7).
        """
        self._asked = 0
        self._asking.arm(self._random.random() * SOLICIT_DELAY)

    def stop(self) -> None:
        """
        The link is gone: forget what was advertised on it.
        """
        self._asking.stop()
        for prefix in list(self._formed):
            self._expire(prefix)
        for network in list(self._routes.onLink):
            self._leaveLink(network)
        for router in list(self._routes.routers):
            self.removeRouter(router)
        self._ip.mtu6 = None
        self._routes.advertised = False

    def advertised(self, router: bytes, advertisement: RouterAdvertisement) -> None:
        """
        A router has advertised itself (RFC 4861 section 6.3.4).

        @param router: its packed address.
        """
        self._routes.advertised = True
        if not advertisement.lifetime:
            self.removeRouter(router)
        else:
            self._addRouter(router, advertisement.lifetime)
            if self._asked:
                self._asking.stop()
        for prefix in advertisement.prefixes:
            if isMulticast(prefix.prefix) or isLinkLocal(prefix.prefix):
                # Groups, and what every host knows to be on the link.
                continue
            if prefix.onLink:
                self._prefixOnLink(prefix)
            if prefix.autonomous:
                self._prefixToFormWith(prefix)
        if advertisement.mtu is not None:
            if FLOOR[6] <= advertisement.mtu <= self._ip.mtu:
                self._ip.mtu6 = advertisement.mtu
                self._mtuLastAdvertised = self._now()
            else:
                self.counters["inMTUErrors"] += 1
        self._forgetUnadvertised()

    def removeRouter(self, router: bytes) -> None:
        """
        A station is no default router, or no longer.
        """
        lifetime = self._routes.routers.pop(router, None)
        if lifetime is not None:
            lifetime.stop()

    def isRouter(self, address: bytes) -> bool:
        """
        Whether a packed address is that of a default router.
        """
        return address in self._routes.routers

    def removed(self, address: bytes) -> None:
        """
        An address of ours was removed. If it was formed here, it is not formed again.
        """
        for formed in self._formed.values():
            if formed.address == address:
                formed.removed = True
                formed.preferred.stop()

    def _forgetUnadvertised(self) -> None:
        now = self._now()
        for key in [key for key, last in self._lastAdvertised.items() if now - last >= ADVERTISEMENT_MAX_AGE]:
            if isinstance(key, bytes):
                self._expire(key)
            else:
                self._leaveLink(key)
        if now - self._mtuLastAdvertised >= ADVERTISEMENT_MAX_AGE:
            self._ip.mtu6 = None

    def _ask(self) -> None:
        self._asked += 1
        if self._asked < SOLICITATIONS:
            self._asking.arm(SOLICIT_INTERVAL)
        # Last: the answer may come before this returns.
        self._solicit()

    def _addRouter(self, router: bytes, seconds: float) -> None:
        routers = self._routes.routers
        if router not in routers:
            if routers.isFull:
                self.counters["routerDiscards"] += 1
                return
            routers.put(router, Timer(self._clock, self.removeRouter, router))
        routers[router].arm(seconds)

    def _prefixOnLink(self, prefix: Prefix) -> None:
        network = IPv6Network((prefix.prefix, prefix.length))
        if not prefix.valid:
            self._leaveLink(network)
            return
        onLink = self._routes.onLink
        if network not in onLink:
            if len(onLink) >= MAX_PREFIXES:
                self.counters["prefixDiscards"] += 1
                return
            onLink[network] = Timer(self._clock, self._leaveLink, network)
        onLink[network].arm(prefix.valid)
        self._lastAdvertised[network] = self._now()

    def _leaveLink(self, network: Network) -> None:
        lifetime = self._routes.onLink.pop(network, None)
        if lifetime is not None:
            lifetime.stop()
            del self._lastAdvertised[network]

    def _prefixToFormWith(self, prefix: Prefix) -> None:
        """
        RFC 4862 section 5.5.3.
        """
        if prefix.length != _PREFIX_LENGTH or prefix.preferred > prefix.valid:
            self.counters["inPrefixErrors"] += 1
            return
        formed = self._formed.get(prefix.prefix)
        if formed is None:
            formed = self._form(prefix)
            if formed is None:
                return
        elif prefix.valid > min(TWO_HOURS, formed.valid.left):
            formed.valid.arm(prefix.valid)
        elif formed.valid.left > TWO_HOURS:
            formed.valid.arm(TWO_HOURS)
        self._lastAdvertised[prefix.prefix] = self._now()
        if not formed.removed:
            self._addresses.deprecate(formed.address, not prefix.preferred)
            formed.preferred.arm(prefix.preferred or math.inf)

    def _form(self, prefix: Prefix) -> _Formed | None:
        """
        Have an address with a prefix, unless there is one already, or no room.
        """
        address = prefix.prefix[:8] + self._identifier
        if not prefix.valid or self._addresses.isAssigned(address):
            return None
        if not isHost(address):
            self.counters["inPrefixErrors"] += 1
            return None
        if self._formed.isFull:
            self.counters["prefixDiscards"] += 1
            return None
        formed = _Formed(
            address,
            Timer(self._clock, self._expire, prefix.prefix),
            Timer(self._clock, self._addresses.deprecate, address),
        )
        self._formed.put(prefix.prefix, formed)
        formed.valid.arm(prefix.valid)
        self._ip.addAddress(f"{addressText(address)}/{_PREFIX_LENGTH}", onLink=False)
        self._guard.claim(address)
        return formed

    def _expire(self, prefix: bytes) -> None:
        """
        The address formed with a prefix is valid no more.
        """
        formed = self._formed.pop(prefix)
        del self._lastAdvertised[prefix]
        formed.valid.stop()
        formed.preferred.stop()
        if not formed.removed and self._addresses.isAssigned(formed.address):
            self._guard.release(formed.address)
            self._ip.removeAddress(formed.address)
