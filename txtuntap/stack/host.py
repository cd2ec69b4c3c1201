"""
A whole host on a TUN or TAP device: give it addresses, put it on a port, and it is on the network like any other
machine, while C{DatagramProtocol}s listen on it as they would on the reactor.

    host = Host(["10.0.0.2/24", "fd00::2/64"], reactor=reactor)
    port = TuntapPort("tap0", host.ethernet, reactor=reactor)
    port.startListening()
    host.listenUDP(53, dns.DNSDatagramProtocol(controller))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random, SystemRandom
from typing import Any, cast

from twisted.internet.defer import Deferred

from txtuntap.ethernet import randomLinkAddress
from txtuntap.ip.addresses import Addresses
from txtuntap.ip.input import IPProtocol
from txtuntap.ip.routes import StaticRoutes
from txtuntap.layer.bounded import TableState
from txtuntap.mistakes import checkCallable, checkClock, checkFlag, checkRandom, checkSeconds, checkText, listed
from txtuntap.stack.anyip import AnsweredNetworks
from txtuntap.stack.autoconf import Autoconfiguration, AutoconfiguredRoutes
from txtuntap.stack.drops import DropAnswers
from txtuntap.stack.groups import GroupProtocol
from txtuntap.stack.icmp import ICMPProtocol
from txtuntap.stack.link import HostEthernet, checkInterface
from txtuntap.stack.neighbours import NeighbourCache
from txtuntap.stack.ping import Pong
from txtuntap.stack.ports import ReactorRole
from txtuntap.stack.resolution import Resolution
from txtuntap.tcp.layer import TCPProtocol
from txtuntap.udp.layer import RawUDPProtocol
from txtuntap.wire import icmp, igmp
from txtuntap.wire import udp as udpWire
from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    addressText,
    interfaceIdentifier,
    isHost,
    isLinkLocal,
    isMulticast,
    packAddress,
    packLinkAddress,
    versionOf,
)
from txtuntap.wire.ethernet import ARP, IPV4, IPV6


class Host(ReactorRole):
    """
    A host with addresses of its own.

    It answers ARP and neighbour solicitations for its addresses, and echo requests to them; finds the stations it
    writes to; tells senders with an ICMP error what of theirs was of no use, as far as it may; and has UDP ports.

    A library can be given it in place of a reactor: see L{ReactorRole<txtuntap.stack.ports.ReactorRole>}.

    @ivar ethernet: to be put on a tap.
    @ivar ip: to be put on a tun.
    @ivar udp: the UDP layer.
    @ivar icmp: ICMP for both versions.
    @ivar routes: where packets leave for.
    @ivar neighbours: the stations on the link.
    @ivar linkAddress: our own, six octets.
    """

    def __init__(
        self,
        addresses: Iterable[str] = (),
        reactor: Any = None,
        linkAddress: str | bytes | None = None,
        gateways: Iterable[str] = (),
        anyAddresses: Iterable[str] = (),
        answerFor: Iterable[str] = (),
        answerExcept: Iterable[str] = (),
        autoconfigure: bool = False,
        addressLost: Callable[[str, bytes], None] | None = None,
        addressRegained: Callable[[str], None] | None = None,
        verifyChecksum: bool = True,
        random: Random | None = None,
        tcp: TCPProtocol | None = None,
        secrets: Random | None = None,
        hosts: Mapping[str, str | Iterable[str]] | None = None,
        resolver: Any = None,
    ) -> None:
        """
        @param addresses: our own in CIDR notation, IPv4 and IPv6. On a tap, a link-local one comes by itself.
        @param reactor: an C{IReactorTime}; by default, the global reactor.
        @param linkAddress: six octets or text; by default, a random locally administered one.
        @param gateways: default routes' next hops, one of each version at most.
        @param anyAddresses: whole networks whose every address is ours ("AnyIP"), in CIDR notation. They are reached by
            a route: by default, nothing here says to anybody on the link that we have them.
        @param answerFor: networks among these, or parts of them, for whose addresses ARP requests and neighbour
            solicitations are answered nonetheless: a host that is reached without a route. Whoever really has one of
            them keeps it from when he is first heard. Never answered for are next hops, whoever is in C{neighbours},
            and those who ask whether they may have an address.
        @param answerExcept: addresses and networks that are not answered for.
        @param autoconfigure: whether, on a tap, to ask for routers and believe what they say: addresses and routes of
            IPv6 come by themselves (SLAAC, RFC 4862).
        @param addressLost: called with an address of ours (text) that turned out to be another's, and the station that
            has it. (Anybody on the link can forge that.) The host goes on without it, and tries to have it again: ten
            times soon, then once a minute. It is ours again when nobody has answered for 1 to 4 seconds.
        @param addressRegained: called with an address that was lost, and is ours again.
        @param tcp: the TCP layer, where it is to have other parameters or limits than by default.
        @param hosts: the addresses of other hosts, by name, for C{connectTCP}.
        @param resolver: an C{IHostnameResolver} or C{IResolverSimple} that is asked for names that are not in C{hosts}.
            Or what makes one, when it is called with this host, which has no addresses yet: such as
            C{lambda host: client.Resolver(servers=[("10.0.0.53", 53)], reactor=host)} with C{twisted.names.client}. The
            machine's own resolver is never asked.
        @param random: where chance comes from, but for what nobody may guess.
        @param secrets: where that comes from; by default, from the system. (For a simulation that is to be repeated:
            elsewhere, whoever can guess it can forge answers.)

        @raise ValueError: one of them is no address, or what cannot be a host's; an address or a network has no prefix
            length; there are two gateways of one IP version.
        @raise TypeError: C{reactor}, C{random}, C{secrets} or C{addressLost} is of another kind.
        """
        if reactor is None:
            from twisted.internet import reactor
        checkClock(reactor, "the reactor")
        addresses = listed(addresses, "addresses", "10.0.0.2/24")
        gateways = listed(gateways, "gateways", "10.0.0.1")
        anyAddresses = listed(anyAddresses, "anyAddresses", "10.1.0.0/16")
        answerFor = listed(answerFor, "answerFor", "10.1.0.0/16")
        answerExcept = listed(answerExcept, "answerExcept", "10.1.0.1")
        if answerExcept and not answerFor:
            raise ValueError("answerExcept: there is no answerFor to except anything from")
        checkFlag(autoconfigure, "autoconfigure")
        if addressLost is not None:
            checkCallable(addressLost, "addressLost")
        for name, source in ("random", random), ("secrets", secrets):
            if source is not None:
                checkRandom(source, name)
        random = random or SystemRandom()
        secrets = secrets or SystemRandom()
        self.autoconfigures = autoconfigure
        self.linkAddress = randomLinkAddress(secrets) if linkAddress is None else packLinkAddress(linkAddress)
        # IP, its routes and neighbours, and UDP, which a port for an application needs.
        self.neighbours = NeighbourCache(
            reactor, random, lambda address, station: self._resolution.solicit(address, station)
        )
        self.routes = AutoconfiguredRoutes(self.neighbours) if autoconfigure else StaticRoutes()
        self.ip = IPProtocol([], verifyChecksum, self.routes, self.neighbours, reactor)
        self.ip.random = secrets
        self.udp = RawUDPProtocol(verifyChecksum)
        own = cast(Addresses, self.ip.ownAddresses)
        super().__init__(reactor, own, self.udp, secrets)
        self._beginStreams(self.ip, tcp, verifyChecksum, secrets, hosts, resolver)
        for address in addresses:
            self.ip.addAddress(address)
        for gateway in gateways:
            checkText(gateway, "a gateway", "10.0.0.1")
            default = "::/0" if ":" in gateway else "0.0.0.0/0"
            if default in self.routes:
                raise ValueError(f"gateways has two of one IP version: leave out {gateway}, or use addRoute for it")
            self._addRoute(default, gateway)
        for network in anyAddresses:
            own.addNetwork(network)
        answered = AnsweredNetworks(own, self.neighbours, self.routes, answerFor, answerExcept)
        # Above IP.
        self.icmp = ICMPProtocol(self.ip, reactor, random, verifyChecksum, secrets)
        self.groups = self.icmp.groups = GroupProtocol(
            self.ip, reactor, random, self._groups, self._linkLocal, verifyChecksum
        )
        own.onGroup = self._groupChanged
        self.ip.addProto(udpWire.PROTOCOL, self.udp)
        for number in icmp.PROTOCOL.values():
            self.ip.addProto(number, self.icmp)
        self.ip.addProto(igmp.PROTOCOL, self.groups)
        self.ip.onDropped = self.udp.onDropped = DropAnswers(self.icmp, own.isOwn).dropped
        # Below IP, on a tap.
        self.ethernet = HostEthernet(self.linkAddress, self._linkStarted, self._linkStopped, self._linkUp)
        self.ethernet.checkSecondPort = self.ip.checkSecondPort = partial(checkInterface, self.ip)
        self._resolution = Resolution(
            self.ip,
            own,
            self.ethernet,
            self.neighbours,
            answered,
            reactor,
            random,
            self.groups.settled,
            addressLost,
            addressRegained,
            self.ethernet.failuresOf(self),
        )
        self._guard = self._resolution.guard
        self.arp = self._resolution.arp
        self.ndp = self.icmp.ndp = self._resolution.ndp
        self.ethernet.addProto(ARP, self.arp)
        self.ethernet.addProto(IPV4, self.ip)
        self.ethernet.addProto(IPV6, self.ip)
        self.autoconfiguration: Autoconfiguration | None = None
        if isinstance(self.routes, AutoconfiguredRoutes):
            identifier = interfaceIdentifier(self.linkAddress)
            self.autoconfiguration = self.ndp.autoconfiguration = Autoconfiguration(
                reactor, random, self.ip, own, self.routes, self._guard, identifier, self.ndp.solicitRouters
            )

    # Addresses and routes

    @property
    def addresses(self) -> list[str]:
        """
        Our own addresses, in CIDR notation.
        """
        return [str(each) for each in self.ip.addresses]

    def addAddress(self, address: str) -> None:
        """
        Have one more address.

        @param address: in CIDR notation.

        @raise ValueError: it is no address that a host can have, or is ours already.
        """
        self.ip.addAddress(address)
        if self.ethernet.numPorts:
            self._guard.claim(packAddress(address.partition("/")[0]))

    def removeAddress(self, address: str) -> None:
        """
        Have one address less.

        @param address: without its prefix length.

        @raise ValueError: it is not ours.
        """
        self.ip.removeAddress(address)
        self._guard.release(packAddress(address))
        if self.autoconfiguration is not None:
            self.autoconfiguration.removed(packAddress(address))

    def addRoute(self, network: str, gateway: str | None = None) -> None:
        """
        Add a route; the longest prefix wins. A gateway that is in none of our networks is warned about: an address may
        be added later.

        @param gateway: the next hop; L{None}: the network is on the link.

        @raise ValueError: an argument is no such thing.
        """
        self._addRoute(network, gateway)

    def _addRoute(self, network: str, gateway: str | None) -> None:
        hop = None if gateway is None else packAddress(gateway)
        if hop is not None and (self._addresses.isOwn(hop) or hop in self._addresses.broadcasts):
            what = "an address of this host" if self._addresses.isOwn(hop) else "a broadcast address"
            raise ValueError(f"the gateway {gateway} is {what}: give that of the router")
        self.routes.add(network, gateway)
        if hop is not None and self._isOffLink(hop):
            networks = ", ".join(str(each.network) for each in self.ip.addresses)
            text = f"the gateway {gateway} is in none of this host's networks ({networks}): give one that is in one"
            # The caller of addRoute, or of Host.
            warnings.warn(text, stacklevel=3)

    def _isOffLink(self, hop: bytes) -> bool:
        """
        Whether a gateway is in none of our networks, though we have some. A host whose addresses are each alone has a
        link without a network, such as a point-to-point link; a router may give us one of IPv6 later.
        """
        if len(hop) == 16 and (self.autoconfigures or isLinkLocal(hop)):
            return False
        networks = self._addresses.networks
        if networks.match(hop) is not None:
            return False
        return any(length < bits for version, bits in ((4, 32), (6, 128)) for length in networks.lengths(version))

    def removeRoute(self, network: str) -> None:
        """
        @raise ValueError: there is no route to C{network}.
        """
        self.routes.remove(network)

    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        The counters of all parts, by the part's name.
        """
        parts = ["ethernet", "arp", "ndp", "neighbours", "ip", "icmp", "groups", "udp"]
        if self.usesTCP:
            parts.append("tcp")
        if self.autoconfiguration is not None:
            parts.append("autoconfiguration")
        return {part: dict(getattr(self, part).counters) for part in parts}

    def tables(self) -> list[TableState]:
        """
        How full the bounded tables of all parts are now: one record for each table, with its name, its size, its bound,
        and what happens at the bound. See L{TableState<txtuntap.layer.bounded.TableState>}.
        """
        parts: list[Any] = [self.ethernet, self.arp, self.neighbours, self.ip, self.icmp, self.groups, self.udp]
        if self.usesTCP:
            parts.append(self.tcp)
        if self.autoconfiguration is not None:
            parts.append(self.autoconfiguration)
        return [state for part in parts for state in part.tables()]

    # Others

    def ping(self, address: str, size: int = 56, timeout: float = 1.0) -> Deferred[Pong]:
        """
        Ask a host for an echo.

        @param address: its IP address.
        @param size: octets of payload, random ones: at most 65,507 over IPv4, 65,527 over IPv6.
        @param timeout: seconds to wait for the answer.

        @return: fires with a L{Pong<txtuntap.stack.ping.Pong>} when the answer has come; fails with C{TimeoutError},
            and with C{ConnectionLost} when the host is stopped before.

        @raise ValueError: an argument is not what it should be.
        @raise OSError: there is no route to C{address}, and nobody else has caused that.
        """
        checkText(address, "an address", "10.0.0.1")
        dest = packAddress(address)
        if not isHost(dest) and not isMulticast(dest) and dest != LIMITED_BROADCAST:
            raise ValueError(f"{address} cannot be pinged: it is not the address of a host on a network")
        checkSeconds(timeout, "timeout")
        most = udpWire.MAX_PAYLOAD[versionOf(dest)]
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= most:
            raise ValueError(f"an echo request carries at most {most} octets, not {size!r}")
        return self.icmp.ping(dest, self._secrets.randbytes(size), timeout)

    # The link

    def _linkStarted(self) -> None:
        linkLocal = b"\xfe\x80" + bytes(6) + interfaceIdentifier(self.linkAddress)
        if not self._addresses.isAssigned(linkLocal):
            self.ip.addAddress(f"{addressText(linkLocal)}/64")
        self._resolution.claimAll()
        if self.autoconfiguration is not None:
            self.autoconfiguration.start()

    def _linkUp(self) -> None:
        self._resolution.claimAll()
        self.groups.repeat()
        if self.autoconfiguration is not None:
            self.autoconfiguration.start()

    def _linkLocal(self) -> bytes | None:
        """
        The link-local address that we have, and is not still being asked for.
        """
        ours = self._addresses.inOrder6(linkLocal=True)
        return next((each for each in ours if not self._guard.isTentative(each)), None)

    def _groups(self) -> set[bytes]:
        return self._addresses.groups(solicited=bool(self.ethernet.numPorts))

    def _groupChanged(self, group: bytes) -> None:
        self.groups.changed(group, self._addresses.isIn(group, solicited=bool(self.ethernet.numPorts)))

    def _linkStopped(self) -> None:
        if self.autoconfiguration is not None:
            self.autoconfiguration.stop()
        self._resolution.stop()
