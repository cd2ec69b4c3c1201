"""
Stateless address autoconfiguration (SLAAC): a host forms addresses, adds routes and chooses a default router by the
router advertisements that it receives.

Read RFC 4862 section 5.5 and RFC 4861 section 6.3 first. Anyone on the link can forge a router advertisement, so a
host processes them only if the program asks for that.
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

#: The most prefixes with which addresses are formed, and also the most prefixes that are on the link. A new prefix
#: beyond that is ignored, so that a flood of forged ones does not displace those in use.
MAX_PREFIXES = 16

#: The most default routers. A new one beyond that is ignored, too.
MAX_ROUTERS = 8

#: The longest delay of the first router solicitation and the interval between two, in seconds, and the number of
#: solicitations. RFC 4861 section 10 calls them MAX_RTR_SOLICITATION_DELAY, RTR_SOLICITATION_INTERVAL and
#: MAX_RTR_SOLICITATIONS.
SOLICIT_DELAY = 1.0
SOLICIT_INTERVAL = 4.0
SOLICITATIONS = 3

#: The number of seconds below which an advertisement cannot reduce the valid lifetime of an address. Otherwise one
#: forged advertisement could remove all addresses at once (RFC 4862 section 5.5.3e).
TWO_HOURS = 2 * 60 * 60.0

#: The seconds after which a prefix or an MTU that is no longer advertised is removed, even if its lifetime is longer.
#: A router advertises all its prefixes at least every half hour (RFC 4861 section 6.2.1). Without this bound, one
#: forged advertisement with an infinite lifetime could fill the tables for ever. The age is checked only when an
#: advertisement arrives. On a link without advertisements, only the lifetimes count.
ADVERTISEMENT_MAX_AGE = 24 * 60 * 60.0

#: The length in bits of a prefix with which an address can be formed. The interface identifier takes the other 64 bits
#: (RFC 4291 section 2.5.1).
_PREFIX_LENGTH = 64


class AutoconfiguredRoutes(StaticRoutes):
    """
    A routing table with static routes and the routes that routers advertise. The longest matching prefix wins. A static
    route wins over an advertised one with the same prefix.

    @ivar onLink: the networks that are advertised to be on the link, each with the timer of its lifetime.
    @ivar routers: the default routers by packed address, each with the timer of its lifetime.
    """

    def __init__(self, neighbours: NeighbourCache) -> None:
        """
        @param neighbours: the neighbour cache, which shows the reachable routers.
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
        Whether a packed address is the next hop of a route.
        """
        return address in self.routers or super().isGateway(address)

    def lookup(self, dest: bytes) -> bytes | None:
        """
        Find the next hop to a packed address: see L{IRoutes.lookup<txtuntap.interfaces.IRoutes.lookup>}.
        """
        static, advertised = self._routes.match(dest), self.onLink.match(dest)
        if advertised is not None and (static is None or advertised[0] > static[0]):
            return dest
        if static is not None:
            return static[1] or dest
        return self._router() if self.routers and len(dest) == 16 else None

    def _router(self) -> bytes:
        """
        Choose a default router: one that the neighbour cache has resolved, or else the next one in round-robin order
        (RFC 4861 section 6.3.6).
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
    An address that was formed with an advertised prefix.

    @ivar address: the packed address.
    @ivar valid: runs until the end of the valid lifetime, when the address is removed.
    @ivar preferred: runs until the end of the preferred lifetime, when the address is deprecated.
    @ivar removed: whether the program has removed the address. Then it is not formed again.
    """

    address: bytes
    valid: Timer
    preferred: Timer
    removed: bool = False


class Autoconfiguration:
    """
    Configures a host by the router advertisements that it receives.

    It forms an address with each autonomous prefix, claims it on the link, deprecates it after its preferred lifetime,
    and removes it after its valid lifetime. It adds and removes the on-link networks and the default routers, and sets
    the MTU of IPv6. It ignores the advertised hop limit, reachable time and retransmission timer.

    Counters: C{inPrefixErrors} (prefixes with which no address can be formed, for example because their length is not
    64, or the preferred lifetime exceeds the valid lifetime), C{inMTUErrors} (MTUs below the minimum of IPv6 or above
    the MTU of the link), C{prefixDiscards} and C{routerDiscards} (prefixes and routers for which their table had no
    room).
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
        @param clock: the reactor of the host.
        @param random: chooses the delay of the first router solicitation.
        @param ip: the IP layer of the host.
        @param addresses: the addresses of that layer.
        @param routes: the routes of that layer.
        @param guard: probes for each new address whether another station has it.
        @param identifier: the interface identifier, the last eight octets of each address.
        @param solicit: called to send a router solicitation.
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
        self._solicitations = 0
        self._soliciting = Timer(clock, self._sendSolicitation)
        self._formed: Table[bytes, _Formed] = Table("prefixes of addresses", MAX_PREFIXES, Policy.REFUSE)
        # The time of the last advertisement of each prefix, in seconds. The key of an on-link prefix is its network.
        # The key of a prefix with which an address was formed is the packed prefix.
        self._lastAdvertised: dict[Network | bytes, float] = {}
        self._mtuLastAdvertised = 0.0

    def tables(self) -> list[TableState]:
        """
        List the prefix and router tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        onLink = TableState("prefixes on the link", len(self._routes.onLink), MAX_PREFIXES, Policy.REFUSE.value)
        return [self._routes.routers.state, onLink, self._formed.state]

    def start(self) -> None:
        """
        Begin to send router solicitations (RFC 4861 section 6.3.7).
        """
        self._solicitations = 0
        self._soliciting.arm(self._random.random() * SOLICIT_DELAY)

    def stop(self) -> None:
        """
        Stop, because the host is on no link any more. Remove all addresses, routes and routers that were advertised.
        """
        self._soliciting.stop()
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
        Process a valid router advertisement (RFC 4861 section 6.3.4).

        @param router: the packed address of the router.
        """
        self._routes.advertised = True
        if not advertisement.lifetime:
            self.removeRouter(router)
        else:
            self._addRouter(router, advertisement.lifetime)
            if self._solicitations:
                self._soliciting.stop()
        for prefix in advertisement.prefixes:
            if isMulticast(prefix.prefix) or isLinkLocal(prefix.prefix):
                # No host has a multicast address, and the link-local prefix is on every link.
                continue
            if prefix.onLink:
                self._prefixOnLink(prefix)
            if prefix.autonomous:
                self._prefixAutonomous(prefix)
        if advertisement.mtu is not None:
            if FLOOR[6] <= advertisement.mtu <= self._ip.mtu:
                self._ip.mtu6 = advertisement.mtu
                self._mtuLastAdvertised = self._now()
            else:
                self.counters["inMTUErrors"] += 1
        self._forgetUnadvertised()

    def removeRouter(self, router: bytes) -> None:
        """
        Remove a router from the list of default routers, if it is there.
        """
        lifetime = self._routes.routers.pop(router, None)
        if lifetime is not None:
            lifetime.stop()

    def isRouter(self, address: bytes) -> bool:
        """
        Whether a packed address is in the list of default routers.
        """
        return address in self._routes.routers

    def removed(self, address: bytes) -> None:
        """
        Note that the program has removed an address of the host. If it was formed here, it is not formed again.
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

    def _sendSolicitation(self) -> None:
        self._solicitations += 1
        if self._solicitations < SOLICITATIONS:
            self._soliciting.arm(SOLICIT_INTERVAL)
        # This call comes last, because an advertisement may arrive before the call returns.
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

    def _prefixAutonomous(self, prefix: Prefix) -> None:
        """
        Process a prefix with the autonomous flag (RFC 4862 section 5.5.3): form an address with it, or set the
        lifetimes of the address that was formed before.
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
        Form an address with a prefix, and claim it on the link.

        @return: the new address. C{None} if the host has it already, if it cannot be a host's address, if the valid
            lifetime is 0, or if there is no room.
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
        Remove the address that was formed with a prefix, because its valid lifetime is over.
        """
        formed = self._formed.pop(prefix)
        del self._lastAdvertised[prefix]
        formed.valid.stop()
        formed.preferred.stop()
        if not formed.removed and self._addresses.isAssigned(formed.address):
            self._guard.release(formed.address)
            self._ip.removeAddress(formed.address)
