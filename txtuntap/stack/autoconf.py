"""
Stateless address autoconfiguration (RFC 4862, RFC 4861 section 6.3): addresses, routes and a router by what routers
advertise. Nobody proves that he is a router: a host believes this only if it is told to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Network
from random import Random

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txtuntap.ip.addresses import Addresses
from txtuntap.ip.input import IPProtocol
from txtuntap.ip.pathmtu import FLOOR
from txtuntap.ip.routes import StaticRoutes
from txtuntap.layer.tables import Policy, Table, TableState
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.neighbours import NeighbourCache
from txtuntap.wire.address import addressText, isHost
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

#: Seconds after which a prefix, or an MTU, that no router tells any more is forgotten, when a router tells of others.
#: Each tells all it has every half an hour at the latest (RFC 4861 section 6.2.1). Otherwise what one forged message
#: says could stay for ever, and fill the tables for ever. (Where no router tells anything, lifetimes alone count.)
UNTOLD = 24 * 60 * 60.0

#: Of a prefix that addresses are formed with: the identifier has the other half (RFC 4291 section 2.5.1).
_PREFIX_LENGTH = 64


class Lifetime:
    """
    A time that can be renewed, and what is to be done at its end.
    """

    def __init__(self, clock: IReactorTime, over: Callable[[], None]) -> None:
        self._clock = clock
        self._over = over
        self._call: IDelayedCall | None = None

    def renew(self, seconds: float) -> None:
        """
        Have it end in so many seconds from now; they may be infinite.
        """
        self.cancel()
        if seconds != math.inf:
            self._call = self._clock.callLater(seconds, self._over)

    def cancel(self) -> None:
        """
        Have it never end.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    @property
    def remaining(self) -> float:
        """
        Seconds until it ends.
        """
        return math.inf if self._call is None else max(0.0, self._call.getTime() - self._clock.seconds())


class AutoconfiguredRoutes(StaticRoutes):
    """
    A table of routes that are given, and of those that routers tell of. The longest prefix wins; of two alike, the one
    given.

    @ivar onLink: networks that are said to be on the link.
    @ivar routers: default routers: for how long each is one, by packed address.
    """

    def __init__(self, neighbours: NeighbourCache) -> None:
        """
        @param neighbours: tells which routers are there.
        """
        super().__init__()
        self._neighbours = neighbours
        self.onLink = StaticRoutes()
        self.routers: Table[bytes, Lifetime] = Table("routers", lambda: MAX_ROUTERS, Policy.REFUSE)

    @property
    def gateways(self) -> set[bytes]:
        """
        The packed addresses of all next hops.
        """
        return super().gateways | self.routers.keys()

    def lookup(self, dest: bytes) -> bytes | None:
        """
        See L{IRoutes.lookup<txtuntap.interfaces.IRoutes.lookup>}.
        """
        given, told = self.match(dest), self.onLink.match(dest)
        if told is not None and (given is None or told[0] > given[0]):
            return told[1]
        if given is not None:
            return given[1]
        return self._router() if self.routers and len(dest) == 16 else None

    def _router(self) -> bytes:
        """
        A default router: one that is known to be there, or else each in its turn (RFC 4861 section 6.3.6).
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
    valid: Lifetime
    preferred: Lifetime
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
        own: Addresses,
        routes: AutoconfiguredRoutes,
        guard: AddressGuard,
        identifier: bytes,
        solicit: Callable[[], None],
    ) -> None:
        """
        @param ip: the IP layer; C{own}: its addresses; C{routes}: its routes.
        @param guard: asks whether somebody has an address.
        @param identifier: the last eight octets of the addresses.
        @param solicit: called to ask for routers.
        """
        self.counters: Counter[str] = Counter()
        self._clock = clock
        self._random = random
        self._ip = ip
        self._own = own
        self._routes = routes
        self._guard = guard
        self._identifier = identifier
        self._solicit = solicit
        self._asked = 0
        self._asking = Lifetime(clock, self._ask)
        self._onLink: Table[IPv6Network, Lifetime] = Table("prefixes on the link", lambda: MAX_PREFIXES, Policy.REFUSE)
        self._formed: Table[bytes, _Formed] = Table("prefixes of addresses", lambda: MAX_PREFIXES, Policy.REFUSE)
        # When each prefix was last told of, and the MTU.
        self._told: dict[IPv6Network | bytes, float] = {}
        self._mtuTold = 0.0

    def tables(self) -> list[TableState]:
        """
        See L{Layer.tables<txtuntap.layer.layer.Layer.tables>}.
        """
        return [table.state for table in (self._routes.routers, self._onLink, self._formed)]

    def start(self) -> None:
        """
        Begin to ask for routers (RFC 4861 section 6.3.7).
        """
        self._asked = 0
        self._asking.renew(self._random.random() * SOLICIT_DELAY)

    def stop(self) -> None:
        """
        The link is gone: forget what was told on it.
        """
        self._asking.cancel()
        for prefix in list(self._formed):
            self._expire(prefix)
        for network in list(self._onLink):
            self._leaveLink(network)
        for router in list(self._routes.routers):
            self.removeRouter(router)
        self._ip.mtu6 = None
        self._routes.told = False

    def advertised(self, router: bytes, advertisement: RouterAdvertisement) -> None:
        """
        A router has advertised itself (RFC 4861 section 6.3.4).

        @param router: its packed address.
        """
        self._routes.told = True
        if not advertisement.lifetime:
            self.removeRouter(router)
        else:
            self._addRouter(router, advertisement.lifetime)
            if self._asked:
                self._asking.cancel()
        for prefix in advertisement.prefixes:
            if prefix.prefix[0] == 0xFF or (prefix.prefix[0] == 0xFE and prefix.prefix[1] & 0xC0 == 0x80):
                # Groups, and what every host knows to be on the link.
                continue
            if prefix.onLink:
                self._prefixOnLink(prefix)
            if prefix.autonomous:
                self._prefixToFormWith(prefix)
        if advertisement.mtu is not None:
            if FLOOR[16] <= advertisement.mtu <= self._ip.mtu:
                self._ip.mtu6 = advertisement.mtu
                self._mtuTold = self._clock.seconds()
            else:
                self.counters["inMTUErrors"] += 1
        self._forgetUntold()

    def removeRouter(self, router: bytes) -> None:
        """
        A station is no default router, or no longer.
        """
        lifetime = self._routes.routers.pop(router, None)
        if lifetime is not None:
            lifetime.cancel()

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
                formed.preferred.cancel()

    def _forgetUntold(self) -> None:
        now = self._clock.seconds()
        for key in [key for key, told in self._told.items() if now - told >= UNTOLD]:
            if isinstance(key, bytes):
                self._expire(key)
            else:
                self._leaveLink(key)
        if now - self._mtuTold >= UNTOLD:
            self._ip.mtu6 = None

    def _ask(self) -> None:
        self._asked += 1
        if self._asked < SOLICITATIONS:
            self._asking.renew(SOLICIT_INTERVAL)
        # Last: the answer may come before this returns.
        self._solicit()

    def _addRouter(self, router: bytes, seconds: float) -> None:
        routers = self._routes.routers
        lifetime = routers.get(router) or Lifetime(self._clock, lambda: self.removeRouter(router))
        if routers.put(router, lifetime):
            lifetime.renew(seconds)
        else:
            self.counters["routerDiscards"] += 1

    def _prefixOnLink(self, prefix: Prefix) -> None:
        network = IPv6Network((prefix.prefix, prefix.length))
        if not prefix.valid:
            self._leaveLink(network)
            return
        if network not in self._onLink:
            if not self._onLink.put(network, Lifetime(self._clock, lambda: self._leaveLink(network))):
                self.counters["prefixDiscards"] += 1
                return
            self._routes.onLink.add(network)
        self._onLink[network].renew(prefix.valid)
        self._told[network] = self._clock.seconds()

    def _leaveLink(self, network: IPv6Network) -> None:
        lifetime = self._onLink.pop(network, None)
        if lifetime is not None:
            lifetime.cancel()
            del self._told[network]
            self._routes.onLink.remove(network)

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
        elif prefix.valid > min(TWO_HOURS, formed.valid.remaining):
            formed.valid.renew(prefix.valid)
        elif formed.valid.remaining > TWO_HOURS:
            formed.valid.renew(TWO_HOURS)
        self._told[prefix.prefix] = self._clock.seconds()
        if not formed.removed:
            self._own.deprecate(formed.address, not prefix.preferred)
            formed.preferred.renew(prefix.preferred or math.inf)

    def _form(self, prefix: Prefix) -> _Formed | None:
        """
        Have an address with a prefix, unless there is one already, or no room.
        """
        address = prefix.prefix[:8] + self._identifier
        if not prefix.valid or self._own.holds(address):
            return None
        if not isHost(address):
            self.counters["inPrefixErrors"] += 1
            return None
        if self._formed.isFull:
            self.counters["prefixDiscards"] += 1
            return None
        formed = _Formed(
            address,
            Lifetime(self._clock, lambda: self._expire(prefix.prefix)),
            Lifetime(self._clock, lambda: self._own.deprecate(address)),
        )
        self._formed.put(prefix.prefix, formed)
        formed.valid.renew(prefix.valid)
        self._ip.addAddress(f"{addressText(address)}/{_PREFIX_LENGTH}", onLink=False)
        self._guard.claim(address)
        return formed

    def _expire(self, prefix: bytes) -> None:
        """
        The address formed with a prefix is valid no more.
        """
        formed = self._formed.pop(prefix)
        del self._told[prefix]
        formed.valid.cancel()
        formed.preferred.cancel()
        if not formed.removed and self._own.holds(formed.address):
            self._guard.release(formed.address)
            self._ip.removeAddress(formed.address)
