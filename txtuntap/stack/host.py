"""
A host with its own IP stack on a TUN or TAP device. It has addresses of its own on the network, and its ports have the
interface of a reactor: protocols listen and connect on it as they do on the reactor::

    host = Host(["10.0.0.2/24", "fd00::2/64"], reactor=reactor)
    port = TuntapPort("tap0", host.ethernet, reactor=reactor)
    port.startListening()
    host.listenUDP(53, dns.DNSDatagramProtocol(controller))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from txtuntap.ethernet import randomLinkAddress
from txtuntap.ip.input import IPProtocol
from txtuntap.ip.routes import StaticRoutes
from txtuntap.layer.bounded import TableState
from txtuntap.layer.chance import SYSTEM_RANDOM
from txtuntap.layer.life import FailureLog
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
    A host with addresses of its own, and with UDP and TCP ports.

    It answers ARP requests and neighbour solicitations for its addresses, and echo requests to them. It resolves the
    link addresses of the stations to which it sends. It reports a packet that it cannot use to the sender by an ICMP
    error.

    A library that takes a reactor can be given a host instead: see
    L{ReactorRole<txtuntap.stack.ports.ReactorRole>}.

    @ivar ethernet: the Ethernet layer, to be put on the port of a TAP device.
    @ivar ip: the IP layer, to be put on the port of a TUN device.
    @ivar icmp: the layer of ICMP and ICMPv6.
    @ivar arp: the layer of ARP.
    @ivar ndp: the neighbour discovery of IPv6.
    @ivar groups: the layer of IGMP and MLD.
    @ivar routes: the routing table.
    @ivar neighbours: the neighbour cache: the stations on the link by IP address.
    @ivar linkAddress: the link address of the host, six octets.
    @ivar autoconfigures: whether the host processes router advertisements.
    @ivar autoconfiguration: the part that does so; C{None} if C{autoconfigures} is false.
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
        @param addresses: the IPv4 and IPv6 addresses of the host, in CIDR notation. On a TAP device, the host adds an
            IPv6 link-local address.
        @param reactor: an C{IReactorTime}. By default, it is the global reactor.
        @param linkAddress: the link address of the host: six octets, or text. By default, it is a random, locally
            administered address.
        @param gateways: the next hops of the default routes: at most one address of each IP version.
        @param anyAddresses: networks whose every address the host has ("AnyIP"), in CIDR notation. By default, the host
            does not answer ARP requests and neighbour solicitations for these addresses, so other stations need a route
            to the host.
        @param answerFor: networks, each in one of C{anyAddresses} or a part of one. The host answers ARP requests and
            neighbour solicitations for their addresses, so stations on the link reach them without a route. If another
            station really has one of the addresses, the host answers for it only until that station is heard. The host
            never answers for the next hop of a route, for an address in C{neighbours}, or to a station that probes
            whether an address is free.
        @param answerExcept: addresses, and networks in CIDR notation, within C{answerFor}. The host does not answer for
            these.
        @param autoconfigure: whether to form IPv6 addresses and add routes by the router advertisements on a TAP
            device (SLAAC, RFC 4862). The host then also solicits routers.
        @param addressLost: called when the host stops using one of its addresses because another station has it. The
            arguments are the address as text and the link address of that station, six octets. Anyone on the link can
            forge such a conflict. The host probes for the address again: nine times after 1 to 10 seconds each, then
            about once a minute. It uses the address again when no station has answered for 1 second (IPv6) or 3 seconds
            (IPv4).
        @param addressRegained: called with an address as text when the host uses it again after C{addressLost}.
        @param verifyChecksum: whether to drop received packets with a wrong checksum.
        @param random: the source of random delays and other values that others may predict.
        @param tcp: a TCP layer with other parameters or limits than the default ones.
        @param secrets: the source of random values that nobody may predict. By default, it is the operating system.
            Give another one only for a simulation that is to be repeated, because a peer that can predict these values
            can forge answers.
        @param hosts: the addresses of other hosts by name, for C{connectTCP}.
        @param resolver: an C{IHostnameResolver} or C{IResolverSimple} that resolves the names not in C{hosts}. If it is
            callable, it is called with this host, which has no addresses at that time, and must return a resolver. An
            example is C{lambda host: client.Resolver(servers=[("10.0.0.53", 53)], reactor=host)} with
            C{twisted.names.client}. The resolver of the operating system is never asked.

        @raise ValueError: an argument is no address, or no address that a host can have; an address or a network has no
            prefix length; C{gateways} has two addresses of one IP version.
        @raise TypeError: an argument is of a wrong type.
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
            raise ValueError("answerExcept: there is no answerFor to exclude addresses from: give both, or neither")
        checkFlag(autoconfigure, "autoconfigure")
        if addressLost is not None:
            checkCallable(addressLost, "addressLost")
        for name, source in ("random", random), ("secrets", secrets):
            if source is not None:
                checkRandom(source, name)
        random = random or SYSTEM_RANDOM
        secrets = secrets or SYSTEM_RANDOM
        self.autoconfigures = autoconfigure
        self.linkAddress = randomLinkAddress(secrets) if linkAddress is None else packLinkAddress(linkAddress)
        self.neighbours = NeighbourCache(
            reactor, random, lambda address, station: self._resolution.solicit(address, station)
        )
        self.routes = AutoconfiguredRoutes(self.neighbours) if autoconfigure else StaticRoutes()
        ip = IPProtocol([], verifyChecksum, self.routes, self.neighbours, reactor)
        ip.random = secrets
        super().__init__(reactor, ip, verifyChecksum, secrets)
        own = self._addresses
        self._beginStreams(tcp, hosts, resolver)
        for address in addresses:
            self.ip.addAddress(address)
        for gateway in gateways:
            checkText(gateway, "a gateway", "10.0.0.1")
            default = "::/0" if ":" in gateway else "0.0.0.0/0"
            if default in self.routes:
                raise ValueError(
                    f"gateways has two addresses of one IP version: leave out {gateway}, or use addRoute for it"
                )
            self._addRoute(default, gateway)
        for network in anyAddresses:
            own.addNetwork(network)
        answered = AnsweredNetworks(own, self.neighbours, self.routes, answerFor, answerExcept)
        self.icmp = ICMPProtocol(self.ip, reactor, random, verifyChecksum, secrets)
        self.groups = self.icmp.groups = GroupProtocol(
            self.ip, reactor, random, self._groups, self._linkLocal, verifyChecksum
        )
        own.onGroup = self._groupChanged
        for number in icmp.PROTOCOL.values():
            self.ip.addProto(number, self.icmp)
        self.ip.addProto(igmp.PROTOCOL, self.groups)
        self.ip.onDropped = self._dropped = DropAnswers(self.icmp, own.isOwn).dropped
        # Below IP, on a tap.
        self.ethernet = HostEthernet(self.linkAddress, self._linkStarted, self._linkStopped, self._linkUp)
        self.ethernet.checkSecondPort = self.ip.checkSecondPort = self._checkSecondPort
        self._resolution = Resolution(
            self.ip,
            own,
            self.ethernet,
            self.neighbours,
            answered,
            reactor,
            random,
            self.groups.addressConfirmed,
            addressLost,
            addressRegained,
            FailureLog(self, self.ethernet.counters),
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
        The addresses of this host in CIDR notation, without those that are suspended.
        """
        return [str(each) for each in self.ip.addresses]

    def addAddress(self, address: str) -> None:
        """
        Add an address to this host. On a link, the host probes whether another station has it.

        @param address: the address in CIDR notation.

        @raise ValueError: C{address} is no address that a host can have, or this host has it already.
        """
        self.ip.addAddress(address)
        if self.ethernet.numPorts:
            self._guard.claim(packAddress(address.partition("/")[0]))

    def removeAddress(self, address: str) -> None:
        """
        Remove an address from this host.

        @param address: the address without its prefix length.

        @raise ValueError: this host does not have C{address}.
        """
        self.ip.removeAddress(address)
        self._guard.release(packAddress(address))
        if self.autoconfiguration is not None:
            self.autoconfiguration.removed(packAddress(address))

    def addRoute(self, network: str, gateway: str | None = None) -> None:
        """
        Add a static route. A packet takes the route with the longest prefix that matches its destination.

        A gateway that is in none of the host's networks causes a warning and no error, because an address in its
        network may be added later.

        @param network: the destination network in CIDR notation.
        @param gateway: the address of the next hop. C{None}: the network is on the link.

        @raise ValueError: C{network} is no network, or C{gateway} is no address of another host.
        """
        self._addRoute(network, gateway)

    def _addRoute(self, network: str, gateway: str | None) -> None:
        hop = None if gateway is None else packAddress(gateway)
        if hop is not None and (self._addresses.isOwn(hop) or hop in self._addresses.broadcasts):
            what = "an address of this host" if self._addresses.isOwn(hop) else "a broadcast address"
            raise ValueError(f"the gateway {gateway} is {what}: give the address of the router")
        self.routes.add(network, gateway)
        if hop is not None and self._isOffLink(hop):
            networks = ", ".join(str(each.network) for each in self.ip.addresses)
            text = f"the gateway {gateway} is in none of this host's networks ({networks}): give one that is in one"
            # The warning names the line that called addRoute or made the Host.
            warnings.warn(text, stacklevel=3)

    def _isOffLink(self, hop: bytes) -> bool:
        """
        Whether a gateway is in none of the host's networks, although the host has some. A host whose prefixes are all
        of full length, as on a point-to-point link, has no network in which a gateway could be. An IPv6 gateway is not
        checked on a host with autoconfiguration, because a router may advertise its network later.
        """
        if len(hop) == 16 and (self.autoconfigures or isLinkLocal(hop)):
            return False
        networks = self._addresses.networks
        if networks.match(hop) is not None:
            return False
        return any(length < bits for version, bits in ((4, 32), (6, 128)) for length in networks.lengths(version))

    def removeRoute(self, network: str) -> None:
        """
        Remove a static route.

        @param network: the destination network in CIDR notation, as it was added.

        @raise ValueError: there is no route to C{network}.
        """
        self.routes.remove(network)

    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        The counters of all layers: for each name of a layer, such as C{"ip"}, a mapping from counter to number.
        """
        parts = ["ethernet", "arp", "ndp", "neighbours", "ip", "icmp", "groups", "udp"]
        if self.usesTCP:
            parts.append("tcp")
        if self.autoconfiguration is not None:
            parts.append("autoconfiguration")
        # A UDP layer that was not created has counted nothing.
        return {
            part: {} if part == "udp" and self._udp is None else dict(getattr(self, part).counters) for part in parts
        }

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of all layers: for each, its name, its size, its bound, and what happens at the bound.
        See L{TableState<txtuntap.layer.bounded.TableState>}.
        """
        udp = self._udp or RawUDPProtocol()
        parts: list[Any] = [self.ethernet, self.arp, self.neighbours, self.ip, self.icmp, self.groups, udp]
        if self.usesTCP:
            parts.append(self.tcp)
        if self.autoconfiguration is not None:
            parts.append(self.autoconfiguration)
        return [state for part in parts for state in part.tables()]

    # Ping

    def ping(self, address: str, size: int = 56, timeout: float = 1.0) -> Deferred[Pong]:
        """
        Send an echo request to an address, and wait for the reply.

        @param address: the IP address of a host, or of a group.
        @param size: the number of random octets of payload: at most 65,507 over IPv4, and 65,527 over IPv6.
        @param timeout: the seconds to wait for the reply.

        @return: a Deferred that fires with a L{Pong<txtuntap.stack.ping.Pong>} when the reply arrives. It fails with
            C{TimeoutError}, or with C{ConnectionLost} if the host is stopped before.

        @raise ValueError: C{address} is no address that can be pinged, or another argument is out of its range.
        @raise OSError: there is no route to C{address}. If the route was lost through the action of another host, the
            Deferred fails with C{TimeoutError} instead.
        @raise RuntimeError: the host is on no port that runs, or too many pings are under way.
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

    def _checkSecondPort(self, transport: Any) -> None:
        checkInterface(self.ip, transport)

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
        The first packed link-local address that is not tentative; C{None} if there is none.
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
