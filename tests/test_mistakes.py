"""
Tests with mistakes of callers. For each mistake, an error or a warning says what to give instead.

Each row of a table is one mistake: its name, the call, the class of the exception or warning, and words of its text.
"""

from __future__ import annotations

import errno
import io
import warnings
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.error import CannotListenError, InvalidAddressError, MulticastJoinError, ServiceNameUnknownError
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.recorders import PacketRecorder, forPort
from txtuntap import EthernetProtocol, Host, IPProtocol, RawUDPProtocol, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configure, configureInterface, configureNow
from txtuntap.device.helper.device import HelpedDevice
from txtuntap.device.monitor import InterfaceMonitor
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute, InterfaceSettings
from txtuntap.device.state import readInterface
from txtuntap.ip.routes import StaticNeighbours, StaticRoutes
from txtuntap.middleware import Capture, CaptureStream, Impairment, Meter, Netem
from txtuntap.middleware.prometheus import InterfaceCollector
from txtuntap.network import Network
from txtuntap.network.link import Link
from txtuntap.network.replay import Replay
from txtuntap.switch import Switch
from txtuntap.tcp import Limits, NewReno, Parameters, TCPProtocol
from txtuntap.testing import MemoryDevice, ethernetFrame, ipPacket, join, udpDatagram
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.stream import StreamFactory
from txtuntap.tunnel.tunnel import Tunnel

if TYPE_CHECKING:
    from txtuntap.device.linux import LinuxDevice

#: An argument that is always of a wrong type.
anything = cast(Any, object())
Mistake = tuple[str, Callable[[], object], type[BaseException], str]


def tcp() -> TCPProtocol:
    """
    Make a TCP layer above an IP layer.
    """
    return host().tcp


def host(*addresses: str, **options: Any) -> Host:
    """
    Make a host with an address, on no port.
    """
    return Host(addresses or ("10.0.0.2/24",), Clock(), **options)


def listening(mode: int = TUN) -> Host:
    """
    Make a host with addresses, on a port that listens.
    """
    clock: Any = Clock()
    made = Host(["10.0.0.2/24", "fd00::2/64"], clock)
    top = made.ip if mode == TUN else made.ethernet
    TuntapPort("", top, reactor=clock, device=MemoryDevice(mode)).startListening()
    return made


def transport(**options: Any) -> Any:
    """
    Make the transport of a UDP protocol on a host that listens.
    """
    return listening(**options).listenUDP(7, DatagramProtocol())


def memory(proto: Any, mode: int = TUN, **options: Any) -> TuntapPort:
    """
    Make a port on a device in memory.
    """
    return TuntapPort("", proto, reactor=Clock(), device=MemoryDevice(mode), **options)


def recorder(mode: int = TUN) -> Any:
    """
    Make a protocol for a port of a mode.
    """
    return forPort(PacketRecorder(), mode)


def twoPorts(*tops: Callable[[Host], Any]) -> None:
    """
    Put one host on several ports of devices in memory.

    @param tops: for each port, a function that returns the part of the host for it.
    """
    made = host()
    for top in tops:
        proto = top(made)
        memory(proto, TUN if proto is made.ip else TAP).startListening()


def twoLinks() -> None:
    """
    Put one host on two links.
    """
    network = Network()
    made = network.host("10.0.0.2/24", network.switch())
    network.link(made, network.switch())
    network.start()


def simulated(*ats: Callable[[Switch], Any]) -> None:
    """
    Simulate hosts with the same address on one switch.

    @param ats: for each host, a function that returns its place at the switch.
    """
    network = Network()
    switch = network.switch()
    for at in ats:
        network.host("10.0.0.1/24", at(switch))


def merged() -> None:
    """
    Link two switches that each have a host with the same address.
    """
    network = Network()
    switches = network.switch(), network.switch()
    for each in switches:
        network.host("10.0.0.1/24", each)
    network.link(*switches)


def farAway() -> None:
    """
    Put two hosts with the same address on two switches that are linked.
    """
    network = Network()
    switches = network.switch(), network.switch()
    network.link(*switches)
    for each in switches:
        network.host("10.0.0.1/24", each)


def linkedHosts() -> None:
    """
    Link two hosts with the same address to each other.
    """
    network = Network()
    network.host(["10.0.0.9/24", "10.0.0.1/8"], network.host("10.0.0.1/24"))


def started() -> TuntapPort:
    """
    Make a port that is listening.
    """
    port = memory(recorder())
    port.startListening()
    return port


def linux(name: str, *arguments: Any, **options: Any) -> LinuxDevice:
    """
    Make a Linux device that is not open.
    """
    # Windows cannot import this module.
    from txtuntap.device.linux import LinuxDevice

    return LinuxDevice(name, *arguments, **options)


def queues(command: Any) -> object:
    """
    Start no queue's process with a command.
    """
    from txtuntap.device.linux.queues import queueProcesses

    return queueProcesses([], command, Clock())


def closed() -> LinuxDevice:
    """
    Make a Linux tun device that is not open.
    """
    return linux("tun0", TUN)


def opened() -> MemoryDevice:
    """
    Make a device in memory that is open.
    """
    device = MemoryDevice(TUN, "tun7")
    device.open()
    return device


def fails(deferred: Any) -> None:
    """
    Raise the exception that a Deferred has failed with.
    """
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    failures[0].raiseException()


class _Printer:
    """
    A plain object that receives packets.
    """

    def packetReceived(self, packet: object) -> None:
        """
        Do nothing: this protocol is never started.
        """


_ETHERNET = "give host.ethernet for a tap, host.ip for a tun"
_CLOCK = "a reactor or a clock"

PORT: list[Mistake] = [
    ("a host", lambda: TuntapPort("tun0", host()), TypeError, _ETHERNET),
    ("a class", lambda: TuntapPort("tun0", IPProtocol), TypeError, "a class, give an instance, IPProtocol()"),
    ("a switch", lambda: TuntapPort("tap0", Switch(Clock())), TypeError, "give switch.addPort()"),
    ("a DatagramProtocol", lambda: TuntapPort("tun0", DatagramProtocol()), TypeError, "RawUDPProtocol"),
    ("a factory", lambda: TuntapPort("tun0", Factory()), TypeError, "a factory of protocols for streams"),
    ("nothing", lambda: TuntapPort("tun0", None), TypeError, "IRawPacketProtocol"),
    ("a host with a mode", lambda: TuntapPort("tun0", host(), mode=TUN), TypeError, _ETHERNET),
    ("a class with a mode", lambda: TuntapPort("tun0", _Printer, mode=TUN), TypeError, "give an instance, _Printer()"),
    ("a plain object", lambda: TuntapPort("tun0", _Printer()), TypeError, "give mode=TAP or mode=TUN"),
    ("a mode as text", lambda: TuntapPort("tun0", _Printer(), mode=anything), ValueError, "txtuntap.TUN or"),
    ("the other mode", lambda: TuntapPort("tun0", IPProtocol(), mode=TAP), ValueError, "leave mode out"),
    ("no name", lambda: TuntapPort(anything, recorder()), ValueError, "an interface name must be str or bytes"),
    (
        "a reactor in place of maxPacketSize",
        lambda: TuntapPort("tun0", recorder(), anything),
        ValueError,
        "maxPacketSize is",
    ),
    ("no reactor", lambda: TuntapPort("tun0", recorder(), reactor="epoll"), TypeError, _CLOCK),
    ("a class of clock", lambda: TuntapPort("tun0", recorder(), reactor=Clock), TypeError, "give Clock()"),
    ("a class of device", lambda: TuntapPort("", recorder(), device=anything), TypeError, "MemoryDevice(TUN)"),
    (
        "a protocol for the other kind of device",
        lambda: memory(recorder(TAP), TUN),
        ValueError,
        "needs a tap, and the device is a tun",
    ),
    (
        "two names",
        lambda: TuntapPort("tun0", recorder(), device=MemoryDevice(TUN, "tun1")),
        ValueError,
        "the interface is 'tun0', but that of the device is 'tun1': give one name",
    ),
    (
        "an option of the device",
        lambda: memory(recorder(), protocolInformation=True),
        ValueError,
        "protocolInformation and system belong to the device: give them to LinuxDevice",
    ),
    ("offload as text", lambda: memory(recorder(), offload="no"), ValueError, "offload is True, False or None"),
    ("write before the start", lambda: memory(recorder()).write(b"E"), OSError, "call startListening() first"),
    ("text", lambda: started().write(cast(Any, "hello")), TypeError, "bytes, not text: give 'hello'.encode()"),
    ("a number", lambda: started().write(cast(Any, 5)), TypeError, "a packet is bytes, not int"),
    ("a second start", lambda: started().startListening(), CannotListenError, "listening already"),
]

LAYERS: list[Mistake] = [
    ("a class on Ethernet", lambda: EthernetProtocol().addProto(0x0800, IPProtocol), TypeError, "give an instance"),
    ("a host on Ethernet", lambda: EthernetProtocol().addProto(0x0800, host()), TypeError, _ETHERNET),
    ("UDP on Ethernet", lambda: EthernetProtocol().addProto(0x0800, RawUDPProtocol()), TypeError, "to an IPProtocol"),
    ("no EtherType", lambda: EthernetProtocol().addProto(17, recorder()), UserWarning, "not an EtherType"),
    ("no number", lambda: EthernetProtocol().addProto(anything, recorder()), TypeError, "added under a number"),
    ("no VLAN", lambda: EthernetProtocol().addProto(0x0800, IPProtocol(), 4095), ValueError, "from 1 to 4094"),
    ("a group's address", lambda: EthernetProtocol("01:00:00:00:00:01"), ValueError, "even first octet"),
    ("an address of zeros", lambda: EthernetProtocol(bytes(6)), ValueError, "of no station"),
    ("text on Ethernet", lambda: EthernetProtocol().write(cast(Any, "x"), bytes(6), 0x0800), TypeError, "not text"),
    ("no such type", lambda: EthernetProtocol().write(b"", b"\2" + bytes(5), cast(Any, "ip")), ValueError, "0x0600"),
    ("a class on IP", lambda: IPProtocol().addProto(17, RawUDPProtocol), TypeError, "give an instance"),
    ("a DatagramProtocol on IP", lambda: IPProtocol().addProto(17, DatagramProtocol()), TypeError, "RawUDPProtocol"),
    ("a class of plain objects on IP", lambda: IPProtocol().addProto(None, _Printer), TypeError, "give an instance"),
    ("an EtherType on IP", lambda: IPProtocol().addProto(0x0800, recorder()), TypeError, "8 bits"),
    ("an address, no list", lambda: IPProtocol("10.0.0.2/24"), ValueError, "addresses is a list: give"),
    ("octets, no list", lambda: IPProtocol(cast(Any, b"10.0.0.2/24")), ValueError, "addresses is a list: give"),
    ("no prefix", lambda: IPProtocol(["10.0.0.2"]), ValueError, "give '10.0.0.2/24'"),
    ("no routes", lambda: IPProtocol(routes=cast(Any, {})), TypeError, "StaticRoutes()"),
    ("no neighbours", lambda: IPProtocol(neighbours=cast(Any, {})), TypeError, "StaticNeighbours()"),
    ("no clock", lambda: IPProtocol(clock=cast(Any, Clock)), TypeError, "give Clock()"),
    ("text on IP", lambda: listening().ip.write(cast(Any, "x"), "10.0.0.1", 99), TypeError, "bytes, not text"),
    ("a name on IP", lambda: listening().ip.write(b"x", "localhost", 99), ValueError, "not an IPv4 or IPv6 address"),
    ("octets on IP", lambda: listening().ip.write(b"x", b"10.0.0.1", 99), ValueError, "give text, not bytes"),
    ("a class on UDP", lambda: RawUDPProtocol().addProto(7, DatagramProtocol), TypeError, "DatagramProtocol()"),
    ("a host on UDP", lambda: RawUDPProtocol().addProto(7, host()), TypeError, "that is a host"),
    ("no port", lambda: RawUDPProtocol().addProto(65536, DatagramProtocol()), TypeError, "16 bits"),
    ("a network's number", lambda: StaticRoutes().add(cast(Any, 49)), ValueError, "a network is text"),
    ("a network without a prefix", lambda: StaticRoutes().add("10.1.0.0"), ValueError, "or such as '10.1.0.0/24'"),
    ("a network's host", lambda: StaticRoutes().add("10.1.0.1/16"), ValueError, "has host bits set"),
    ("a group as gateway", lambda: StaticRoutes().add("10.1.0.0/16", "224.0.0.1"), ValueError, "of one host"),
    ("a gateway's prefix", lambda: StaticRoutes().add("10.1.0.0/16", "10.0.0.1/24"), ValueError, "without its prefix"),
    ("no station", lambda: StaticNeighbours().add("10.0.0.1", "here"), ValueError, "not a link address"),
    ("a group's neighbour", lambda: StaticNeighbours().add("224.0.0.1", bytes(6)), ValueError, "of one host"),
]

HOST: list[Mistake] = [
    ("no prefix", lambda: Host(["10.0.0.2"], Clock()), ValueError, "give '10.0.0.2/24', with the prefix length of"),
    ("no prefix of IPv6", lambda: Host(["fd00::2"], Clock()), ValueError, "give 'fd00::2/64'"),
    ("an address, no list", lambda: Host("10.0.0.2/24", Clock()), ValueError, "is a list: give ['10.0.0.2/24']"),
    ("octets, no list", lambda: Host(cast(Any, b"10.0.0.2/24"), Clock()), ValueError, "addresses is a list"),
    ("octets", lambda: Host([cast(Any, b"10.0.0.2/24")], Clock()), ValueError, "an address is text, not bytes"),
    ("a number", lambda: Host([cast(Any, 49)], Clock()), ValueError, "an address is text such as '10.0.0.2/24'"),
    ("the network itself", lambda: host("10.0.0.0/24"), ValueError, "give one between, such as 10.0.0.1/24"),
    ("a group", lambda: host("224.0.0.1/24"), ValueError, "not an address that a host can have"),
    ("one address twice", lambda: host("10.0.0.2/24", "10.0.0.2/16"), ValueError, "an address of this host already"),
    ("no reactor", lambda: Host(["10.0.0.2/24"], "02:00:00:00:00:01"), TypeError, _CLOCK),
    ("a class of clock", lambda: Host(["10.0.0.2/24"], Clock), TypeError, "give Clock()"),
    ("a gateway, no list", lambda: host(gateways="10.0.0.1"), ValueError, "gateways is a list"),
    ("a gateway in octets", lambda: host(gateways=[b"10.0.0.1"]), ValueError, "a gateway is text, not bytes"),
    ("a gateway's prefix", lambda: host(gateways=["10.0.0.1/24"]), ValueError, "without its prefix length"),
    ("two gateways", lambda: host(gateways=["10.0.0.1", "10.0.0.3"]), ValueError, "two addresses of one IP version"),
    ("itself as gateway", lambda: host(gateways=["10.0.0.2"]), ValueError, "is an address of this host"),
    ("a broadcast address as gateway", lambda: host(gateways=["10.0.0.255"]), ValueError, "is a broadcast address"),
    (
        "a gateway off the link",
        lambda: host(gateways=["10.9.0.1"]),
        UserWarning,
        "the gateway 10.9.0.1 is in none of this host's networks (10.0.0.0/24): give one that is in one",
    ),
    ("a gateway of no network", lambda: host("fd00::2/64", gateways=["10.0.0.1"]), UserWarning, "fd00::/64"),
    ("a route off the link", lambda: host().addRoute("10.1.0.0/16", "10.9.0.1"), UserWarning, "10.9.0.1 is in none"),
    ("anyAddresses, no list", lambda: host(anyAddresses="10.1.0.0/16"), ValueError, "anyAddresses is a list"),
    ("anyAddresses without a prefix", lambda: host(anyAddresses=["10.1.0.0"]), ValueError, "has no prefix length"),
    (
        "anyAddresses of groups",
        lambda: host(anyAddresses=["224.0.0.0/4"]),
        ValueError,
        "no addresses that a host can have",
    ),
    (
        "answerFor outside of anyAddresses",
        lambda: host(answerFor=["10.1.0.0/16"]),
        ValueError,
        "in none of anyAddresses",
    ),
    ("answerExcept without answerFor", lambda: host(answerExcept=["10.1.0.1"]), ValueError, "there is no answerFor"),
    ("autoconfigure as text", lambda: host(autoconfigure="no"), ValueError, "True or False, not 'no'"),
    ("addressLost", lambda: host(addressLost="log"), TypeError, "addressLost is a callback: give a function"),
    ("a seed", lambda: host(random=5), TypeError, "give random.Random(5)"),
    ("a seed of secrets", lambda: host(secrets=5), TypeError, "secrets is a random number generator"),
    ("a group's station", lambda: host(linkAddress="03:00:00:00:00:01"), ValueError, "even first octet"),
    ("adding without a prefix", lambda: host().addAddress("10.0.0.3"), ValueError, "give '10.0.0.3/24'"),
    ("removing with a prefix", lambda: host().removeAddress("10.0.0.2/24"), ValueError, "without its prefix length"),
    (
        "removing an address of another host",
        lambda: host().removeAddress("10.0.0.3"),
        ValueError,
        "no address of this host",
    ),
    ("removing an unknown route", lambda: host().removeRoute("10.1.0.0/16"), ValueError, "there is no route"),
    ("a name", lambda: host().ping("localhost"), ValueError, "not an IPv4 or IPv6 address"),
    ("a ping of octets", lambda: listening().ping(cast(Any, b"10.0.0.1")), ValueError, "text, not bytes"),
    ("a ping of a loopback address", lambda: listening().ping("127.0.0.1"), ValueError, "cannot be pinged"),
    ("a ping too large", lambda: listening().ping("10.0.0.1", 65508), ValueError, "at most 65507 octets"),
    ("a ping without time", lambda: listening().ping("10.0.0.1", timeout=0), ValueError, "timeout is a number of sec"),
    ("a ping at no network", lambda: host().ping("10.0.0.1"), RuntimeError, "put it on a TuntapPort and start that"),
    (
        "two taps",
        lambda: twoPorts(lambda host: host.ethernet, lambda host: host.ethernet),
        RuntimeError,
        "another Host",
    ),
    ("two tuns", lambda: twoPorts(lambda host: host.ip, lambda host: host.ip), RuntimeError, "make another Host"),
    ("a tap and a tun", lambda: twoPorts(lambda host: host.ethernet, lambda host: host.ip), RuntimeError, "on tap0"),
    ("a tun and a tap", lambda: twoPorts(lambda host: host.ip, lambda host: host.ethernet), RuntimeError, "on tun0"),
    (
        "two ports and middleware",
        lambda: twoPorts(lambda host: Meter(host.ethernet), lambda host: Meter(host.ethernet)),
        RuntimeError,
        "this Host is on tap0 already",
    ),
]

UDP: list[Mistake] = [
    ("a class", lambda: host().listenUDP(7, cast(Any, DatagramProtocol)), TypeError, "DatagramProtocol()"),
    ("no protocol", lambda: host().listenUDP(7, anything), TypeError, "an instance of DatagramProtocol"),
    ("no port", lambda: host().listenUDP(cast(Any, "7"), DatagramProtocol()), ValueError, "from 1 to 65535"),
    ("a name", lambda: host().listenUDP(7, DatagramProtocol(), "localhost"), InvalidAddressError, "not an IPv4"),
    ("a prefix", lambda: host().listenUDP(7, DatagramProtocol(), "10.0.0.2/24"), InvalidAddressError, "prefix"),
    ("octets", lambda: host().listenUDP(7, DatagramProtocol(), cast(Any, b"::1a")), InvalidAddressError, "not bytes"),
    (
        "an address of another host",
        lambda: host().listenUDP(7, DatagramProtocol(), "10.0.0.3"),
        CannotListenError,
        "it has 10.0.0.2",
    ),
    ("text", lambda: transport().write("hello", ("10.0.0.1", 7)), TypeError, "bytes, not text: give 'hello'.encode()"),
    ("a number", lambda: transport().write(5, ("10.0.0.1", 7)), TypeError, "a datagram is bytes, not int"),
    ("an address without a port", lambda: transport().write(b"", "10.0.0.1"), ValueError, "('10.0.0.1', 7)"),
    ("no address", lambda: transport().write(b""), ValueError, "give write() an address"),
    ("a name to write to", lambda: transport().write(b"", ("localhost", 7)), InvalidAddressError, "not host names"),
    ("octets to write to", lambda: transport().write(b"", (b"::1a", 7)), InvalidAddressError, "text, not bytes"),
    ("a port as text", lambda: transport().write(b"", ("10.0.0.1", "7")), ValueError, "from 1 to 65535"),
    ("a broadcast", lambda: transport().write(b"", ("10.0.0.255", 7)), OSError, "setBroadcastAllowed(True)"),
    ("a connection to a name", lambda: transport().connect("localhost", 7), InvalidAddressError, "not host names"),
    ("a connection to octets", lambda: transport().connect(b"::1a", 7), InvalidAddressError, "text, not bytes"),
    ("no group", lambda: fails(transport().joinGroup("10.0.0.1")), MulticastJoinError, "not the address of a group"),
    ("octets of a group", lambda: fails(transport().joinGroup(b"\xe0\0\0\xfb")), MulticastJoinError, "not bytes"),
    ("a group not joined", lambda: fails(transport().leaveGroup("224.0.0.251")), MulticastJoinError, "not joined it"),
    ("no TTL", lambda: transport().setTTL(256), ValueError, "a TTL is from 0 to 255"),
]

NETWORK: list[Mistake] = [
    ("no clock", lambda: Network(clock=anything), TypeError, _CLOCK),
    ("no prefix", lambda: Network().host("10.0.0.1"), ValueError, "give '10.0.0.1/24'"),
    ("octets", lambda: Network().host(cast(Any, b"10.0.0.1/24")), ValueError, "addresses is a list"),
    ("no such option", lambda: Network().host("10.0.0.1/24", delay="20ms"), TypeError, "delay"),
    ("nothing to link to", lambda: Network().host("10.0.0.1/24", anything), TypeError, "a link is between two"),
    ("a link of classes", lambda: Network().link(host().ethernet, EthernetProtocol), TypeError, "EthernetProtocol()"),
    ("no netem", lambda: Network().host("10.0.0.1/24", recorder(TAP), cast(Any, 0.1)), TypeError, "Netem.of("),
    ("no MTU", lambda: Network().link(host(), host("10.0.0.3/24"), mtu=0), ValueError, "from 68 to 65535, not 0"),
    ("one address twice", lambda: simulated(lambda at: at, lambda at: at), ValueError, "10.0.0.1 is the address of an"),
    (
        "one address twice in a VLAN",
        lambda: simulated(lambda at: at.addPort(vlan=10), lambda at: at.addPort(vlan=10)),
        ValueError,
        "give each host its own",
    ),
    ("one address far away", farAway, ValueError, "10.0.0.1 is the address of another host there"),
    (
        "one address at switches that are linked later",
        merged,
        ValueError,
        "10.0.0.1 is the address of another host there",
    ),
    ("one address at both ends", linkedHosts, ValueError, "10.0.0.1 is the address of another host there"),
    ("two links", twoLinks, RuntimeError, "make another Host"),
    ("a tap of a simulation", lambda: Network().tap("tap0", host()), RuntimeError, "Network(clock=reactor)"),
    (
        "a tap's settings",
        lambda: Network(clock=Clock()).tap("tap0", host(), settings=cast(Any, {"mtu": 1400})),
        TypeError,
        "give InterfaceSettings(",
    ),
    (
        "the address of a host for the kernel's side",
        lambda: Network(clock=Clock()).tap("tap0", host(), settings=InterfaceSettings(addresses=["10.0.0.2/24"])),
        ValueError,
        "10.0.0.2 is the address of another host there",
    ),
    (
        "an address of another network for the kernel's side",
        lambda: Network(clock=Clock()).tap("tap0", host(), settings=InterfaceSettings(addresses=["10.9.0.1/24"])),
        ValueError,
        "from 10.9.0.1/24, the kernel reaches no address of the host: give it one in the network of 10.0.0.2/24",
    ),
    (
        "the impairment of a link that has none",
        lambda: Network().impairment(anything),
        KeyError,
        "give it a netem when it is made",
    ),
    (
        "one protocol at both ends of a link",
        lambda: Link(made := host().ethernet, made, Clock()),
        ValueError,
        "both ends of this one",
    ),
    ("a host at a link", lambda: Link(host(), host().ethernet, Clock()), TypeError, _ETHERNET),
    ("a switch at a link", lambda: Link(host().ethernet, Switch(Clock()), Clock()), TypeError, "switch.addPort()"),
    ("no clock of a link", lambda: Link(recorder(), recorder(), anything), TypeError, _CLOCK),
    ("an MTU as text", lambda: Link(recorder(), recorder(), Clock(), cast(Any, "1500")), ValueError, "an MTU is a num"),
    ("no clock of a switch", lambda: Switch(anything), TypeError, _CLOCK),
    ("no ageing", lambda: Switch(Clock(), cast(Any, "300")), ValueError, "more than 0 seconds"),
    ("a VLAN in place of the name", lambda: Switch(Clock()).addPort(cast(Any, 10)), ValueError, "such as vlan=10"),
    ("a VLAN as text", lambda: Switch(Clock()).addPort(vlan=cast(Any, "10")), ValueError, "from 1 to 4094"),
    ("a VLAN as a flag", lambda: Switch(Clock()).addPort(vlan=True), ValueError, "from 1 to 4094"),
    ("a trunk as text", lambda: Switch(Clock()).addPort(trunk=cast(Any, "10+20")), ValueError, "trunk is a list"),
    ("a trunk of one", lambda: Switch(Clock()).addPort(trunk=cast(Any, 10)), ValueError, "trunk is a list: give [10]"),
    ("no VLAN", lambda: Switch(Clock()).addPort(trunk=[]), ValueError, "in at least one VLAN"),
    ("a station", lambda: Switch(Clock()).addPort(stations="02:00:00:00:00:01"), ValueError, "stations is a list"),
    ("isolated as text", lambda: Switch(Clock()).addPort(isolated=cast(Any, "no")), ValueError, "True or False"),
    ("a rate as text", lambda: Switch(Clock()).addPort(broadcasts=cast(Any, "9")), ValueError, "a second, not '9'"),
    ("nothing above", lambda: Switch(Clock()).addPort().addProto(0x0800, recorder()), TypeError, "a port of its own"),
]

TUNNEL: list[Mistake] = [
    ("a mode as text", lambda: Tunnel(cast(Any, "tun")), ValueError, "TUN or TAP (of txtuntap.device)"),
    ("a list of what is allowed", lambda: Tunnel(TUN, cast(Any, ["10.0.0.2/32"])), TypeError, "Allowed(["),
    ("a network, no list", lambda: Allowed("10.0.0.0/24"), ValueError, "networks is a list"),
    ("a network's number", lambda: Allowed([cast(Any, 49)]), ValueError, "a network is text"),
    ("an address, no list", lambda: Allowed((), "02:00:00:00:00:01"), ValueError, "linkAddresses is a list"),
    ("no tunnel", lambda: StreamFactory(cast(Any, Tunnel), Frames, Clock()), TypeError, "give Tunnel(TUN)"),
    (
        "a framing in place of its class",
        lambda: StreamFactory(Tunnel(TUN), cast(Any, Frames(TUN)), Clock()),
        TypeError,
        "framing",
    ),
    ("no clock", lambda: StreamFactory(Tunnel(TUN), Frames, anything), TypeError, _CLOCK),
]

MIDDLEWARE: list[Mistake] = [
    ("a plain object", lambda: Meter(_Printer()), TypeError, "say which by @implementer(IRawPacketProtocol)"),
    ("around a host", lambda: Meter(host()), TypeError, _ETHERNET),
    ("around a class", lambda: Meter(EthernetProtocol), TypeError, "EthernetProtocol()"),
    ("around UDP", lambda: Meter(RawUDPProtocol()), TypeError, "add it to an IPProtocol"),
    (
        "a dict in place of a function for sources",
        lambda: Meter(recorder(), cast(Any, {})),
        TypeError,
        "give 'lambda: {}'",
    ),
    (
        "a dict in place of a function for counters",
        lambda: InterfaceCollector().add("tun0", cast(Any, {})),
        TypeError,
        "counters is a callback: give a function",
    ),
    ("a text file", lambda: Capture(cast(Any, io.StringIO()), recorder()), TypeError, "open it with 'wb'"),
    ("a flag", lambda: Capture(True, recorder()), TypeError, "a path, a descriptor, a file object"),
    (
        "the other way round",
        lambda: Capture(recorder(), "trace.pcapng"),
        TypeError,
        "'trace.pcapng' is neither an IEther",
    ),
    ("a path of a sink", lambda: Capture(None, recorder()).addSink(cast(Any, "x")), TypeError, "CaptureFile(path)"),
    ("a comment of octets", lambda: Capture(None, recorder()).comment(cast(Any, b"x")), ValueError, "not bytes"),
    ("a snaplen", lambda: CaptureStream(io.BytesIO(), -1), ValueError, "snaplen is a number of octets"),
    ("directions", lambda: CaptureStream(io.BytesIO(), 0, 4), ValueError, "INBOUND (1), OUTBOUND (2)"),
    ("text of what goes wrong", lambda: Impairment(recorder(), cast(Any, "loss 1%")), TypeError, "Netem.of("),
    ("both and each", lambda: Impairment(recorder(), Netem(), Netem(), Netem()), ValueError, "leave out netem"),
    ("a seed", lambda: Impairment(recorder(), random=cast(Any, 1)), TypeError, "random.Random(1)"),
    ("no text", lambda: Netem.of(cast(Any, 0.1)), ValueError, "give text such as 'delay 100ms 10ms"),
    ("a time without a unit", lambda: Netem.of("delay 100"), ValueError, "a time with its unit"),
    ("no such word", lambda: Netem.of("lossy 10%"), ValueError, "none of the options"),
    ("a percentage", lambda: Netem(loss=10), ValueError, "0.1 is 10 %"),
    ("a time as text", lambda: Netem(delay=cast(Any, "50ms")), ValueError, "a number of seconds"),
    ("a replay into a host", lambda: Replay("x", host(), Clock()), TypeError, _ETHERNET),
    ("a replay without a clock", lambda: Replay("x", recorder(), anything), TypeError, _CLOCK),
    ("a replay of text", lambda: Replay(cast(Any, io.StringIO()), recorder(), Clock()), TypeError, "with 'rb'"),
    ("a replay of nothing", lambda: Replay(cast(Any, None), recorder(), Clock()), TypeError, "a path, a descriptor"),
    ("a replay's directions", lambda: Replay("x", recorder(), Clock(), 0), ValueError, "or both (3)"),
    ("a replay's MTU", lambda: Replay("x", recorder(), Clock(), mtu=0), ValueError, "an MTU is a number"),
    ("a replay's store", lambda: Replay("x", recorder(), Clock(), maxSent=-1), ValueError, "maxSent is a number"),
]

DEVICES: list[Mistake] = [
    ("a mode as text", lambda: MemoryDevice(cast(Any, "tun")), ValueError, "TUN (1) or TAP (2)"),
    ("no MTU", lambda: MemoryDevice(TUN, mtu=0), ValueError, "an MTU is a number from 68 to 65535"),
    ("text to deliver", lambda: opened().deliver(cast(Any, "x")), TypeError, "bytes, not text"),
    ("a number to deliver", lambda: opened().deliver(cast(Any, 5)), TypeError, "bytes, not int"),
    ("one packet", lambda: opened().send(cast(Any, b"E")), TypeError, "a list of buffers: give [packet]"),
    ("sending on a closed device", lambda: MemoryDevice(TUN, "tun7").send([b"E"]), OSError, "call open() first"),
    ("no offload", lambda: MemoryDevice(TUN).open(True), OSError, "give offload=False, or None to use what there is"),
    ("no clock to join by", lambda: join(cast(Any, MemoryDevice(TUN)), MemoryDevice(TUN)), TypeError, _CLOCK),
    ("a port to join", lambda: join(Clock(), cast(Any, memory(recorder()))), TypeError, "MemoryDevice"),
    ("two kinds to join", lambda: join(Clock(), MemoryDevice(TUN), MemoryDevice(TAP)), ValueError, "of tap devices or"),
    ("two versions", lambda: ipPacket("10.0.0.1", "fd00::1", 17, b""), ValueError, "different IP versions"),
    ("no address", lambda: udpDatagram("here", "10.0.0.1", 7, 7, b""), ValueError, "not an IPv4 or IPv6 address"),
    ("no station", lambda: ethernetFrame("here", bytes(6), 0x0800, b""), ValueError, "not a link address"),
    ("settings of a helper", lambda: HelpedDevice("tun0", TUN, cast(Any, {})), TypeError, "InterfaceSettings("),
    ("no time for a helper", lambda: HelpedDevice("tun0", TUN, timeout=0), ValueError, "more than 0, not 0"),
    ("no reactor to watch by", lambda: InterfaceMonitor("tun0"), TypeError, _CLOCK),
    (
        "an object as subscriber",
        lambda: InterfaceMonitor(Clock()).subscribe(anything),
        TypeError,
        "a subscriber is a callback",
    ),
]

LINUX: list[Mistake] = [
    ("a long name", lambda: TuntapPort("sixteen-letters-", recorder()), ValueError, "15 is the most"),
    ("an owner that does not exist", lambda: InterfaceSettings(owner="nobody at all"), ValueError, "there is no user"),
    ("a command as text", lambda: queues("worker.py"), ValueError, "arguments is a list"),
    ("a mode as text", lambda: linux("tun0", cast(Any, "tun")), ValueError, "TUN (1) or TAP (2)"),
    ("a descriptor as text", lambda: linux("", TUN, descriptor=cast(Any, "3")), ValueError, "a descriptor is"),
    ("sending while closed", lambda: closed().send([b"E"]), OSError, "tun0 is not open: call open() first"),
    ("receiving while closed", lambda: closed().receive(), OSError, "tun0 is not open: call open() first"),
    ("setting while closed", lambda: closed().setPersistent(True), OSError, "tun0 is not open: call open() first"),
    ("one packet", lambda: closed().send(cast(Any, b"E")), TypeError, "give [packet]"),
]

SETTINGS: list[Mistake] = [
    (
        "an address, no list",
        lambda: InterfaceSettings(addresses="10.0.0.1/24"),
        ValueError,
        "addresses is a list: give",
    ),
    (
        "an address's octets",
        lambda: InterfaceSettings(addresses=[cast(Any, b"10.0.0.1/24")]),
        ValueError,
        "must be text such as",
    ),
    ("an address without a prefix", lambda: InterfaceSettings(addresses=["10.0.0.1"]), ValueError, "'10.0.0.1/24'"),
    ("an address of IPv6", lambda: InterfaceAddress("fd00::1"), ValueError, "has no prefix length"),
    ("a group", lambda: InterfaceAddress("224.0.0.1/24"), ValueError, "not the address of one interface"),
    ("a scope", lambda: InterfaceAddress("fe80::1%tun0/64"), ValueError, "leave out the %"),
    ("a route without a prefix", lambda: InterfaceRoute("10.1.0.0"), ValueError, "has no prefix length"),
    ("a route's host", lambda: InterfaceRoute("10.1.0.1/16"), ValueError, "has host bits set"),
    ("a route of two versions", lambda: InterfaceRoute("10.1.0.0/16", "fd00::1"), ValueError, "another IP version"),
    (
        "neighbours in a list",
        lambda: InterfaceSettings(neighbours=cast(Any, [])),
        ValueError,
        "a mapping from IP address to link address",
    ),
    ("an MTU", lambda: InterfaceSettings(mtu=67), ValueError, "from 68 to 65535"),
    ("up as text", lambda: InterfaceSettings(up=cast(Any, "no")), ValueError, "True, False or None"),
    ("a group's station", lambda: InterfaceSettings(linkAddress="01:00:00:00:00:01"), ValueError, "of one station"),
    ("no such setting", lambda: configureInterface("lo", ip="10.0.0.1/24"), TypeError, "ip"),
    ("a dict", lambda: configureNow("lo", cast(Any, {"mtu": 1400})), TypeError, "give InterfaceSettings("),
    (
        "a dict to configure asynchronously",
        lambda: configure("lo", cast(Any, {"mtu": 1400})),
        TypeError,
        "give InterfaceSettings(",
    ),
    ("no name", lambda: readInterface(cast(Any, None)), ValueError, "an interface name must be str or bytes"),
]

TCP: list[Mistake] = [
    ("no port", lambda: tcp().listen(cast(Any, "80"), Factory()), ValueError, "from 1 to 65535"),
    ("a flag as port", lambda: tcp().listen(True, Factory()), ValueError, "from 1 to 65535"),
    ("a protocol's class", lambda: tcp().listen(80, Protocol), TypeError, "give Factory.forProtocol"),
    ("a factory's class", lambda: tcp().listen(80, Factory), TypeError, "give Factory()"),
    ("no factory", lambda: tcp().listen(80, None), TypeError, "has a method buildProtocol"),
    ("a backlog below 0", lambda: tcp().listen(80, Factory(), backlog=-1), ValueError, "backlog is a number from 0"),
    ("a backlog as text", lambda: tcp().listen(80, Factory(), cast(Any, "50")), ValueError, "backlog is a number"),
    ("a name to listen on", lambda: tcp().listen(80, Factory(), interface="localhost"), InvalidAddressError, "not an"),
    (
        "octets to listen on",
        lambda: tcp().listen(80, Factory(), interface=cast(Any, b"10.0.0.2")),
        InvalidAddressError,
        "not bytes",
    ),
    ("connections", lambda: tcp().listen(80, Factory(), maxConnections=-1), ValueError, "maxConnections is a number"),
    (
        "a dict of parameters",
        lambda: tcp().listen(80, Factory(), parameters=cast(Any, {"ecn": True})),
        TypeError,
        "give Parameters(ecn=True)",
    ),
    (
        "a congestion control as parameters",
        lambda: tcp().connect("10.0.0.1", 80, ClientFactory(), parameters=cast(Any, NewReno)),
        TypeError,
        "give Parameters(ecn=True)",
    ),
    ("octets to connect to", lambda: tcp().connect(cast(Any, b"10.0.0.1"), 80, ClientFactory()), ValueError, "bytes"),
    ("None to connect to", lambda: tcp().connect(cast(Any, None), 80, ClientFactory()), ValueError, "is text"),
    ("a client's class", lambda: tcp().connect("10.0.0.1", 80, ClientFactory), TypeError, "give ClientFactory()"),
    (
        "a name to connect from",
        lambda: tcp().connect("10.0.0.1", 80, ClientFactory(), bindAddress=("localhost", 0)),
        InvalidAddressError,
        "bindAddress has an IP address",
    ),
    (
        "octets to connect from",
        lambda: host().connectTCP("10.0.0.1", 80, ClientFactory(), bindAddress=(b"10.0.0.2", 0)),
        InvalidAddressError,
        "bindAddress has an IP address",
    ),
    (
        "no port to connect from",
        lambda: host().connectTCP("10.0.0.1", 80, ClientFactory(), bindAddress=("10.0.0.2", 65536)),
        ValueError,
        "the port of bindAddress is a number from 0",
    ),
    (
        "a port as text",
        lambda: host().connectTCP("10.0.0.1", 80, ClientFactory(), bindAddress=("10.0.0.2", "80")),
        ValueError,
        "the port of bindAddress is a number from 0",
    ),
    (
        "an address alone in a tuple",
        lambda: host().connectTCP("10.0.0.1", 80, ClientFactory(), bindAddress=("10.0.0.2",)),
        ValueError,
        "an address and a port such as",
    ),
    ("a timeout", lambda: tcp().connect("10.0.0.1", 80, ClientFactory(), -1), ValueError, "seconds, 0 or more"),
    (
        "a timeout as text",
        lambda: tcp().connect("10.0.0.1", 80, ClientFactory(), cast(Any, "30")),
        ValueError,
        "timeout is a number of seconds",
    ),
    ("no service", lambda: tcp().connect("10.0.0.1", "none", ClientFactory()), ServiceNameUnknownError, "'none'"),
    (
        "a TLS port without a factory",
        lambda: host().listenSSL(443, Protocol, None),
        TypeError,
        "has a method buildProtocol",
    ),
    (
        "a TLS connection without a factory",
        lambda: host().connectSSL("10.0.0.1", 443, Protocol, None),
        TypeError,
        "has a method buildProtocol",
    ),
    ("limits as parameters", lambda: TCPProtocol(cast(Any, Limits())), TypeError, "parameters is one of Parameters"),
    ("a dict of limits", lambda: TCPProtocol(limits=cast(Any, {})), TypeError, "limits is one of Limits"),
    ("a flag as text", lambda: TCPProtocol(verifyChecksum=cast(Any, "no")), ValueError, "True or False"),
    (
        "a congestion control in place of its class",
        lambda: Parameters(congestion=cast(Any, NewReno())),
        TypeError,
        "give a function",
    ),
    (
        "a class that is no congestion control",
        lambda: Parameters(congestion=cast(Any, Factory)),
        TypeError,
        "lacks ['acknowledged'",
    ),
    ("a buffer", lambda: Parameters(receiveBuffer=-1), ValueError, "receiveBuffer is a number from 1"),
    ("a buffer beyond any window", lambda: Parameters(receiveBuffer=1 << 30), ValueError, "to 1073725440"),
    ("SACK as text", lambda: Parameters(sack=cast(Any, "no")), ValueError, "Parameters.sack is True or False"),
    ("no user timeout", lambda: Parameters(userTimeout=0), ValueError, "userTimeout is a number of seconds"),
    ("no idle time", lambda: Parameters(keepAliveIdle=cast(Any, None)), ValueError, "keepAliveIdle is a number of"),
    ("no pause", lambda: Parameters(keepAlivePause=0), ValueError, "more than 0"),
    ("no probe", lambda: Parameters(keepAliveProbes=0), ValueError, "keepAliveProbes is a number from 1"),
]

TABLES = {
    "port": PORT,
    "layers": LAYERS,
    "host": HOST,
    "udp": UDP,
    "tcp": TCP,
    "network": NETWORK,
    "tunnel": TUNNEL,
    "middleware": MIDDLEWARE,
    "devices": DEVICES,
    "linux": LINUX,
    "settings": SETTINGS,
}

#: The marks of tables that cannot be tested everywhere.
MARKS = {"linux": pytest.mark.unix("the devices, names and users of UNIX")}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        pytest.param(call, error, words, id=f"{table}: {name}", marks=MARKS.get(table, ()))
        for table, rows in TABLES.items()
        for name, call, error, words in rows
    ],
)
def test_aMistakeIsRefusedWithAdvice(call: Callable[[], object], error: type[BaseException], words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error) as raised:
            call()
    assert words in str(raised.value)


@pytest.mark.parametrize("table", TABLES)
def test_theRowsOfATableHaveDifferentNames(table: str) -> None:
    names = [row[0] for row in TABLES[table]]
    assert len(names) == len(set(names))


# Calls that are no mistake


def test_someGatewaysOffTheLinkGiveNoWarning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # On a point-to-point link, a gateway is not resolved to a link address.
        host("10.0.0.2/32", gateways=["10.9.0.1"])
        Host([], Clock(), gateways=["10.9.0.1"])
        host("10.0.0.2/24", "fd00::2/64", gateways=["fe80::1"])
        host("10.0.0.2/24", gateways=["fd00::1"], autoconfigure=True)


def test_aWarningNamesTheLineOfTheCaller() -> None:
    for call in (
        lambda: Host(["10.0.0.2/24"], Clock(), gateways=["10.9.0.1"]),
        lambda: host().addRoute("10.1.0.0/16", "10.9.0.1"),
    ):
        with pytest.warns(UserWarning) as caught:
            call()
        assert caught[0].filename == __file__


def test_oneAddressMayBeInTwoVLANsOrNetworks() -> None:
    simulated(lambda at: at.addPort(vlan=10), lambda at: at.addPort(vlan=20))
    network = Network()
    for _ in range(2):
        network.host("10.0.0.1/24", network.switch())


def test_aHostMayMoveToAnotherPortAfterTheFirstHasStopped() -> None:
    made, clock = host(), Clock()
    for mode, top in (TAP, made.ethernet), (TUN, made.ip):
        port = TuntapPort("", top, reactor=clock, device=MemoryDevice(mode))
        port.startListening()
        port.stopListening()
        clock.advance(0)
    assert made.ip.numPorts == 0


def test_aHostThatIsRefusedASecondPortKeepsTheFirst() -> None:
    made = host()
    first = memory(made.ethernet, TAP)
    first.startListening()
    second = memory(made.ip, TUN)
    with pytest.raises(RuntimeError):
        second.startListening()
    assert (first.connected, second.connected) == (1, 0)
    assert cast(Any, made.ip.transport) is made.ethernet
    assert made.ip.numPorts == 1


@pytest.mark.parametrize(
    ("interface", "number"), [("", errno.EADDRINUSE), ("10.0.0.2", errno.EADDRINUSE), ("10.0.0.3", errno.EADDRNOTAVAIL)]
)
def test_theErrorOfAPortThatCannotBeBoundHasItsErrno(interface: str, number: int) -> None:
    made = host()
    made.listenUDP(7, DatagramProtocol())
    with pytest.raises(CannotListenError) as raised:
        made.listenUDP(7, DatagramProtocol(), interface)
    assert raised.value.socketError.errno == number


def test_everyBufferIsAcceptedAsADatagram() -> None:
    made = transport()
    for data in bytearray(b"x"), memoryview(b"x"), array("B", b"x"):
        made.write(data, ("10.0.0.1", 7))
