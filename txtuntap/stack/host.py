"""
A whole host on a TUN or TAP device: give it addresses, put it on a port, and it is on the network like any other
machine, while C{DatagramProtocol}s listen on it as they would on the reactor.

    host = Host(["10.0.0.2/24", "fd00::2/64"], reactor=reactor)
    port = TuntapPort("tap0", host.ethernet, reactor=reactor)
    port.startListening()
    host.listenUDP(53, dns.DNSDatagramProtocol(controller))
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from math import inf
from random import Random, SystemRandom
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, InvalidAddressError
from twisted.internet.interfaces import IDelayedCall, IReactorMulticast, IReactorTCP, IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from txtuntap.ethernet import EthernetProtocol, randomLinkAddress
from txtuntap.ip.input import IPProtocol
from txtuntap.ip.routes import StaticRoutes
from txtuntap.layer.tables import TableState
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.mistakes import checkCallable, checkClock, checkFlag, checkRandom, checkText, listed
from txtuntap.packet import Packet
from txtuntap.stack.anyip import AnsweredNetworks
from txtuntap.stack.arp import ARPProtocol
from txtuntap.stack.autoconf import Autoconfiguration, AutoconfiguredRoutes
from txtuntap.stack.groups import GroupProtocol
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.icmp import ICMPProtocol
from txtuntap.stack.ndp import NeighbourDiscovery
from txtuntap.stack.neighbours import NeighbourCache
from txtuntap.stack.ping import Pong
from txtuntap.stack.tcp import TCPElsewhere
from txtuntap.udp.layer import RawUDPProtocol, UDPTransport
from txtuntap.wire import icmp, igmp
from txtuntap.wire import udp as udpWire
from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    addressText,
    interfaceIdentifier,
    isHost,
    isMulticast,
    linkAddressText,
    packAddress,
    packLinkAddress,
)
from txtuntap.wire.ethernet import ARP, IPV4, IPV6

#: How many lines are logged of addresses that others take and leave: at once, and a second in the long run. Anybody on
#: the link can cause them.
LINES_BURST, LINES_RATE = 6.0, 1 / 60

#: Ports handed out for port 0 (RFC 6056 section 3.2).
_EPHEMERAL = range(49152, 65536)

#: Ports that are tried at random before all are looked through for a free one.
_TRIES = 16


class HostEthernet(EthernetProtocol):
    """
    Tells its host when it gets a link, and when it loses it.
    """

    handlesFailures = True

    def __init__(
        self, address: bytes, linked: Callable[[], None], unlinked: Callable[[], None], again: Callable[[], None]
    ) -> None:
        super().__init__(address)
        self._linked = linked
        self._unlinked = unlinked
        self._again = again

    def doStart(self) -> None:
        super().doStart()
        if self.numPorts == 1:
            self._linked()

    def doStop(self) -> None:
        if self.numPorts == 1:
            self._unlinked()
        super().doStop()

    def linkUp(self) -> None:
        """
        The link has been set up: what was said on it before, nobody has heard.
        """
        super().linkUp()
        self._again()


@implementer(IReactorTime, IReactorUDP, IReactorMulticast)
class Host(TCPElsewhere):
    """
    A host with addresses of its own.

    It answers ARP and neighbour solicitations for its addresses, and echo requests to them; finds the stations it
    writes to; tells senders with an ICMP error what of theirs was of no use, as far as it may; and has UDP ports.

    It is an C{IReactorTime}, its reactor's, so that a library can be given it in place of a reactor.

    @ivar ethernet: to be put on a tap.
    @ivar ip: to be put on a tun.
    @ivar udp: the UDP layer.
    @ivar icmp: ICMP for both versions.
    @ivar routes: where packets leave for.
    @ivar neighbours: the stations on the link.
    @ivar linkAddress: our own, six octets.
    """

    _log = Logger()

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
        tcp: IReactorTCP | None = None,
        secrets: Random | None = None,
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
        @param tcp: a reactor for C{connectTCP} and C{listenTCP}: a host has no TCP of its own. It uses the kernel's
            addresses, not this host's.
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
        super().__init__(reactor, tcp)
        self._reactor: IReactorTime = reactor
        random = random or SystemRandom()
        self._secrets = secrets or SystemRandom()
        self.autoconfigures = autoconfigure
        self.linkAddress = randomLinkAddress(self._secrets) if linkAddress is None else packLinkAddress(linkAddress)
        self._addressLost = addressLost
        self._addressRegained = addressRegained
        self._lines = TokenBucket(LINES_RATE, LINES_BURST)
        self.neighbours = NeighbourCache(reactor, random, self._solicit)
        self.routes = AutoconfiguredRoutes(self.neighbours) if autoconfigure else StaticRoutes()
        self.ip = IPProtocol([], verifyChecksum, self.routes, self.neighbours, reactor)
        self.ip.random = self._secrets
        for address in addresses:
            self.ip.addAddress(address)
        for gateway in gateways:
            checkText(gateway, "a gateway", "10.0.0.1")
            default = "::/0" if ":" in gateway else "0.0.0.0/0"
            if default in self.routes:
                raise ValueError(f"gateways has two of one IP version: leave out {gateway}, or use addRoute for it")
            self._addRoute(default, gateway)
        for network in anyAddresses:
            self._own.addNetwork(network)
        self.udp = RawUDPProtocol(verifyChecksum)
        self.icmp = ICMPProtocol(self.ip, reactor, random, verifyChecksum, self._secrets)
        self.ip.addProto(udpWire.PROTOCOL, self.udp)
        for number in icmp.PROTOCOL.values():
            self.ip.addProto(number, self.icmp)
        self.ip.onDropped = self._ipDropped
        self.udp.onDropped = self._udpDropped
        self.ethernet = HostEthernet(self.linkAddress, self._linked, self._unlinked, self._linkedAgain)
        answered = AnsweredNetworks(self._own, self.neighbours, self.routes, anyAddresses, answerFor, answerExcept)
        self._guard = guard = AddressGuard(reactor, random, self._probe, self._announce, self._lost, self._kept)
        self.arp = ARPProtocol(
            self.ethernet,
            self.neighbours,
            self._own.isOwn,
            self._own.isNeighbour,
            self.ip.sourceFor,
            guard.isAskedFor,
            guard.conflict,
            answered,
        )
        self.ethernet.onAnother = self.ip.onAnother = self._onAnother
        self.ndp = self.icmp.ndp = NeighbourDiscovery(
            self.ip,
            self.neighbours,
            self._own.isOwn,
            guard.isTentative,
            guard.isAskedFor,
            guard.conflict,
            answered,
        )
        self.groups = self.icmp.groups = GroupProtocol(
            self.ip, reactor, random, self._groups, self._linkLocal, verifyChecksum
        )
        self.ip.addProto(igmp.PROTOCOL, self.groups)
        self._own.onGroups = self.groups.changed
        self.autoconfiguration: Autoconfiguration | None = None
        if isinstance(self.routes, AutoconfiguredRoutes):
            identifier = interfaceIdentifier(self.linkAddress)
            self.autoconfiguration = self.ndp.autoconfiguration = Autoconfiguration(
                reactor, random, self.ip, self._own, self.routes, self._guard, identifier, self.ndp.solicitRouters
            )
        self.ethernet.addProto(ARP, self.arp)
        self.ethernet.addProto(IPV4, self.ip)
        self.ethernet.addProto(IPV6, self.ip)

    # Addresses and routes

    @property
    def _own(self) -> Any:
        return self.ip.own

    @property
    def addresses(self) -> list[str]:
        """
        Our own addresses, in CIDR notation.
        """
        return [str(interface) for interface in self.ip.addresses]

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
        if hop is not None and (self._own.isOwn(hop) or hop in self._own.broadcasts):
            what = "an address of this host" if self._own.isOwn(hop) else "a broadcast address"
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
        networks = [each.network for each in self.ip.addresses if each.network.prefixlen < each.max_prefixlen]
        if len(hop) == 16 and (self.autoconfigures or hop[:2] == b"\xfe\x80"):
            return False
        return bool(networks) and not any(ip_address(hop) in network for network in networks)

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
        if self.autoconfiguration is not None:
            parts.append("autoconfiguration")
        return {part: dict(getattr(self, part).counters) for part in parts}

    def tables(self) -> list[TableState]:
        """
        How full the bounded tables of all parts are now: one record for each table, with its name, its size, its bound,
        and what happens at the bound. See L{TableState<txtuntap.layer.tables.TableState>}.
        """
        parts: list[Any] = [self.ethernet, self.arp, self.neighbours, self.ip, self.icmp, self.groups, self.udp]
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
        @raise OSError: there is no way to C{address}, and nobody else has caused that.
        """
        checkText(address, "an address", "10.0.0.1")
        dest = packAddress(address)
        if not isHost(dest) and not isMulticast(dest) and dest != LIMITED_BROADCAST:
            raise ValueError(f"{address} cannot be pinged: it is not the address of a host on a network")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < inf:
            raise ValueError(f"timeout is a number of seconds, more than 0, not {timeout!r}")
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= udpWire.MAX_PAYLOAD[len(dest)]:
            raise ValueError(f"an echo request carries at most {udpWire.MAX_PAYLOAD[len(dest)]} octets, not {size!r}")
        return self.icmp.ping(dest, self._secrets.randbytes(size), timeout)

    # UDP

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> UDPTransport:
        """
        Have a protocol listen on a UDP port: C{IReactorUDP.listenUDP}. (It may join groups, too: L{listenMulticast} is
        for several on one port.)

        @param port: 0 takes a free one that nobody can guess (RFC 6056).
        @param interface: an address of ours to listen on; C{"0.0.0.0"} all of IPv4, C{"::"} all of IPv6, C{""} all.
        @param maxPacketSize: has no meaning here: a datagram is delivered whole.

        @raise CannotListenError: the port is taken.
        @raise InvalidAddressError: C{interface} is no IP address.
        @raise ValueError: C{port} is no port.
        """
        return self.listenMulticast(port, protocol, interface, maxPacketSize)

    def listenMulticast(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> UDPTransport:
        """
        As L{listenUDP}: C{IReactorMulticast.listenMulticast}.

        @param listenMultiple: let others be on the port that were let so, too. Each gets every datagram.
        """
        if not isinstance(port, int) or not 0 <= port <= 0xFFFF:
            raise ValueError(f"a UDP port is a number from 1 to 65535, or 0 for any, not {port!r}")
        address = b""
        if interface:
            try:
                checkText(interface, "an interface", "10.0.0.2")
                address = packAddress(interface)
            except ValueError as e:
                raise InvalidAddressError(interface, f"not an IPv4 or IPv6 address. ({e})") from None
            if any(address) and not self._own.owns(address) and not self._own.holds(address):
                error = OSError(errno.EADDRNOTAVAIL, f"{interface} is no address of this host: {self._ownText()}")
                raise CannotListenError(interface, port, error)
        if port == 0:
            port = self._freePort()
            if not port:
                raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "no port is free"))
        for other in self.udp.bound(port):
            if _overlap(address, other.interface) and not (listenMultiple and other.shared):
                error = OSError(errno.EADDRINUSE, f"{other.protocol!r} is there already: give 0 for any that is free")
                raise CannotListenError(interface, port, error)
        transport = self.udp.bind(port, protocol, address)
        transport.shared = listenMultiple
        return transport

    def _freePort(self) -> int:
        """
        One of the ports that are free, each as likely as another; 0 if there is none.
        """
        for _ in range(_TRIES):
            port = self._secrets.choice(_EPHEMERAL)
            if not self.udp.bound(port):
                return port
        # Nearly all are taken.
        free = [number for number in _EPHEMERAL if not self.udp.bound(number)]
        return self._secrets.choice(free) if free else 0

    def _ownText(self) -> str:
        addresses = ", ".join(str(each.ip) for each in self.ip.addresses)
        return f"it has {addresses}" if addresses else "it has none yet"

    # Time

    def seconds(self) -> float:
        """
        See C{IReactorTime}.
        """
        return self._reactor.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """
        See C{IReactorTime}.
        """
        return self._reactor.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Any:
        """
        See C{IReactorTime}.
        """
        return self._reactor.getDelayedCalls()

    # The link

    def _onAnother(self, transport: Any) -> None:
        """
        This host is put on one more port. A queue of the same interface is all it can be.
        """
        one = portBelow(self.ip)
        other = portBelow(transport)
        if not isSameInterface(one, other):
            where, there = (
                getattr(each, "interface", b"").decode(errors="backslashreplace") or repr(each) for each in (one, other)
            )
            raise RuntimeError(f"this Host is on {where} already: make another Host for {there}")

    def _linked(self) -> None:
        linkLocal = b"\xfe\x80" + bytes(6) + interfaceIdentifier(self.linkAddress)
        if not self._own.holds(linkLocal):
            self.ip.addAddress(f"{addressText(linkLocal)}/64")
        self._claimAll()
        if self.autoconfiguration is not None:
            self.autoconfiguration.start()

    def _claimAll(self) -> None:
        for interface in self._own.given:
            self._guard.claim(interface.packed)

    def _linkedAgain(self) -> None:
        self._claimAll()
        self.groups.repeat()
        if self.autoconfiguration is not None:
            self.autoconfiguration.start()

    def _linkLocal(self) -> bytes | None:
        """
        The link-local address that we have, and is not still being asked for.
        """
        for interface in self.ip.addresses:
            if interface.version == 6 and interface.ip.is_link_local and not self._guard.isTentative(interface.packed):
                return interface.packed
        return None

    def _groups(self) -> set[bytes]:
        return cast("set[bytes]", self._own.groups(solicited=bool(self.ethernet.numPorts)))

    def _unlinked(self) -> None:
        if self.autoconfiguration is not None:
            self.autoconfiguration.stop()
        self._guard.clear()
        self.neighbours.clear()
        for address in list(self._own.suspended):
            # There is nobody else any more.
            self._kept(address)

    def _solicit(self, address: bytes, station: bytes | None) -> None:
        (self.arp if len(address) == 4 else self.ndp).solicit(address, station)

    def _probe(self, address: bytes) -> None:
        (self.arp if len(address) == 4 else self.ndp).probe(address)

    def _announce(self, address: bytes) -> None:
        (self.arp if len(address) == 4 else self.ndp).announce(address)
        self.groups.settled()

    def _lost(self, address: bytes, station: bytes) -> None:
        if address in self._own.suspended:
            # The program knows already.
            return
        text = addressText(address)
        self.ip.suspendAddress(address)
        if self._lines.take(self.seconds()):
            self._log.warn("{address} is taken by {station}", address=text, station=linkAddressText(station))
        self._tell("addressLost", self._addressLost, text, station)

    def _kept(self, address: bytes) -> None:
        if address not in self._own.suspended:
            return
        text = addressText(address)
        self.ip.suspendAddress(address, False)
        if self._lines.take(self.seconds()):
            self._log.info("{address} is ours again", address=text)
        self._tell("addressRegained", self._addressRegained, text)

    def _tell(self, name: str, callback: Callable[..., None] | None, *arguments: object) -> None:
        if callback is not None:
            try:
                callback(*arguments)
            except Exception:
                self.ethernet.failuresOf(self).failed(self.seconds(), name)

    # What is of no use

    def _ipDropped(self, packet: Packet, name: str) -> None:
        if name == "inUnknownProtos":
            if packet.version == 4:
                self.icmp.unreachable(packet, icmp.PROTOCOL_UNREACHABLE, 0)
            else:
                self.icmp.unrecognizedNextHeader(packet)
        elif name == "inOptErrors":
            self.icmp.parameterProblem(packet, icmp.UNRECOGNIZED_OPTION6)
        elif name in ("inSourceRoutes", "inFragErrors") and packet.version == 6:
            self.icmp.parameterProblem(packet)
        elif name == "inFragHdrErrors" and packet.version == 6:
            self.icmp.parameterProblem(packet, icmp.INCOMPLETE_HEADER_CHAIN6)
        elif name == "reasmTimeouts" and packet.data:
            self.icmp.reassemblyTimeExceeded(packet)
        elif name == "inAddrErrors" and packet.version == 6 and self._own.isOwn(packet.sourceAddress):
            self.icmp.claimed(packet)

    def _udpDropped(self, packet: Packet, name: str) -> None:
        if name == "noPorts":
            self.icmp.unreachable(packet, icmp.PORT_UNREACHABLE, icmp.PORT_UNREACHABLE6)


def portBelow(transport: Any) -> Any:
    """
    The port below all layers and middleware.
    """
    while getattr(transport, "transport", None) is not None:
        transport = transport.transport
    return transport


def isSameInterface(one: Any, other: Any) -> bool:
    """
    Whether two ports are one, or on queues of one interface of the kernel's.
    """
    devices: list[Any] = [getattr(each, "device", None) for each in (one, other)]
    if one is other or any(each is None or each.fileno() < 0 for each in devices):
        return one is other
    places = [(each.name, getattr(each, "namespace", None)) for each in devices]
    return bool(places[0] == places[1])


def _overlap(one: bytes, other: bytes) -> bool:
    """
    Whether two interfaces have an address in common.
    """
    if not one or not other:
        return True
    return len(one) == len(other) and (one == other or not any(one) or not any(other))
