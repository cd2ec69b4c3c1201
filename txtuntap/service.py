"""
What is behind C{twistd tuntap}: services and their options.

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=echo
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_interface
from types import TracebackType
from typing import Any, ClassVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from twisted.python.usage import UsageError

from txtuntap.device import interfaceName
from txtuntap.ethernet import EthernetProtocol, randomLinkAddress
from txtuntap.ip import IPProtocol
from txtuntap.rawudp import RawUDPProtocol
from txtuntap.routing import StaticNeighbours
from txtuntap.tuntap import TuntapPort
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.udp import PROTOCOL as UDP

#: Ports below serve what is always there: echo, chargen, DNS, NTP.
_FIRST_USER_PORT = 1024


class Echo(DatagramProtocol):
    """
    Sends every datagram back (RFC 862), except to where another echo may be: between two of them, one forged datagram
    would never come to rest.
    """

    noisy = False

    def __init__(self, echoPorts: frozenset[int] = frozenset()) -> None:
        """
        @param echoPorts: the ports that serve echo here.
        """
        self._echoPorts = echoPorts

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Send it back.
        """
        if addr[1] >= _FIRST_USER_PORT and addr[1] not in self._echoPorts and self.transport is not None:
            self.transport.write(datagram, addr)


class Discard(DatagramProtocol):
    """
    Takes every datagram, and does nothing (RFC 863).
    """

    noisy = False


def protocolFactory(name: str) -> Callable[[], DatagramProtocol]:
    """
    The class or factory of a dotted name, found as C{python -m} would find it: in the working directory, then on
    C{PYTHONPATH}, then among what is installed.

    @raise UsageError: there is none such.
    """
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.insert(0, directory)
    try:
        found: object = namedAny(name)
    except Exception as e:
        raise UsageError(f"{name!r} is not echo, not discard, and cannot be imported: {e}") from e
    if not callable(found):
        raise UsageError(f"{name!r} is not a DatagramProtocol class, nor a factory of such: it cannot be called")
    return found


class HostOptions(usage.Options):
    """
    Options of C{twistd tuntap host}.
    """

    synopsis = "[options]"
    longdesc = (
        "Be a host on a TUN or TAP device, and serve UDP there. WHAT is echo, discard, or the dotted name of a"
        " DatagramProtocol class or zero-argument factory, found as 'python -m' would find it: in the working"
        " directory, on PYTHONPATH, or installed."
    )
    optParameters: ClassVar = [
        ["tun", None, None, "Name of the tun interface (IP packets)."],
        ["tap", None, None, "Name of the tap interface (Ethernet frames)."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["addresses"] = []
        self["kernelAddresses"] = []
        self["udp"] = []

    def opt_address(self, cidr: str) -> None:
        """
        An address of the host, such as 10.0.0.2/24 or fd00::2/64. May be repeated.
        """
        self["addresses"].append(_address("--address", cidr))

    def opt_kernel_address(self, cidr: str) -> None:
        """
        An address for the kernel's end of the interface, which is then set up. May be repeated.
        """
        self["kernelAddresses"].append(_address("--kernel-address", cidr))

    def opt_udp(self, service: str) -> None:
        """
        PORT=WHAT: what to serve on a UDP port. May be repeated.
        """
        port, equals, what = service.partition("=")
        if not equals or not what:
            raise UsageError(f"--udp takes PORT=WHAT, such as 7=echo, not {service!r}")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise UsageError(f"--udp: a port is a number from 1 to 65535, not {port!r}")
        self["udp"].append((int(port), what))

    def parseArgs(self, *surplus: str) -> None:
        """
        There are options, and nothing else.
        """
        if surplus:
            raise UsageError(f"{surplus[0]!r} is none of the options")

    def postOptions(self) -> None:
        """
        Check what only the options together tell.
        """
        if (self["tun"] is None) == (self["tap"] is None):
            raise UsageError("give one of --tun NAME and --tap NAME")
        for option in ("tun", "tap"):
            if self[option] is not None:
                try:
                    interfaceName(self[option])
                except ValueError as e:
                    raise UsageError(f"--{option}: {e}") from e
        if not self["addresses"]:
            raise UsageError("give the host an --address, such as 10.0.0.2/24")
        for address in self["kernelAddresses"]:
            if ip_interface(address).ip in {ip_interface(own).ip for own in self["addresses"]}:
                raise UsageError(f"--kernel-address: {address} is the host's --address: each end has its own")
        echoPorts = frozenset(port for port, what in self["udp"] if what == "echo")
        factories: dict[str, Callable[[], DatagramProtocol]] = {"echo": lambda: Echo(echoPorts), "discard": Discard}
        protocols = self["protocols"] = []
        for port, what in self["udp"]:
            try:
                proto = (factories.get(what) or protocolFactory(what))()
            except UsageError as e:
                raise UsageError(f"--udp {port}={what}: {e}") from e
            except Exception as e:
                raise UsageError(f"--udp {port}={what}: making one failed: {e!r}") from e
            if not isinstance(proto, DatagramProtocol):
                raise UsageError(f"--udp {port}={what}: that made a {type(proto).__name__}, not a DatagramProtocol")
            protocols.append((port, proto))


def _address(option: str, cidr: str) -> str:
    try:
        IPProtocol([cidr])
        return str(ip_interface(cidr))
    except ValueError as e:
        raise UsageError(f"{option}: {e}") from e


class HostService(Service):
    """
    A host on a TUN or TAP device, for as long as the service runs.

    @ivar port: the L{TuntapPort}.
    @ivar ip: its IP layer.
    @ivar udp: its UDP layer.
    """

    _log = Logger()

    def __init__(
        self,
        interface: str,
        tap: bool,
        addresses: Sequence[str],
        protocols: Sequence[tuple[int, DatagramProtocol]] = (),
        kernelAddresses: Sequence[str] = (),
        reactor: Any = None,
    ) -> None:
        """
        @param interface: its name.
        @param tap: whether it is a tap, not a tun.
        @param addresses: the host's, in CIDR notation.
        @param protocols: UDP ports, and the protocol on each.
        @param kernelAddresses: those of the kernel's end. If there are any, the interface is set up.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._kernelAddresses = kernelAddresses
        self.udp = RawUDPProtocol()
        for number, proto in protocols:
            self.udp.addProto(number, proto)
        self.neighbours = StaticNeighbours()
        self.ip = IPProtocol(addresses, neighbours=self.neighbours)
        self.ip.addProto(UDP, self.udp)
        top: IPProtocol | EthernetProtocol = self.ip
        self.ethernet: EthernetProtocol | None = None
        if tap:
            # An address makes it a station among others; without one it would listen to all.
            top = self.ethernet = EthernetProtocol(randomLinkAddress())
            top.addProto(IPV4, self.ip)
            top.addProto(IPV6, self.ip)
        self.port = TuntapPort(interface, top, reactor=reactor)

    def privilegedStartService(self) -> None:
        """
        Open the device and configure it, while there is the privilege to.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self.port.startListening()
            self._configure()
        except (CannotListenError, OSError) as e:
            _showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Take note if the interface goes.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self.port.connected:
            self.privilegedStartService()
        self.port.whenLost().addErrback(self._lost)

    def stopService(self) -> Deferred[None]:
        """
        Close the device.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return self.port.stopListening()

    def _configure(self) -> None:
        """
        Configure the kernel's end. Nobody answers ARP or neighbour solicitations here yet, so on a tap each end is told
        where the other is.
        """
        if not self._kernelAddresses:
            return
        from txtuntap.device.configure import configureInterface

        stations: dict[str, str | bytes] = {}
        if self.ethernet is not None:
            stations = {str(own.ip): self.ethernet.linkAddress for own in self.ip.addresses}
            for address in self._kernelAddresses:
                self.neighbours.add(str(ip_interface(address).ip), self.port.linkAddress or b"")
        configureInterface(self.port.device.name, self._kernelAddresses, stations)

    def _lost(self, reason: Failure) -> None:
        if not reason.check(ConnectionDone):
            self._log.critical("{reason} A host without an interface has nothing to do: stopping.", reason=reason.value)
            self._reactor.stop()


def _showPlainly(error: Exception) -> None:
    """
    Have an error that ends twistd shown as a line. It would be a traceback, at whose end stands what the user is to
    read; and anything else to end with, such as C{SystemExit}, would leave the pid file behind.
    """
    others = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is error:
            print(f"twistd tuntap: {value}", file=sys.stderr)
        else:
            others(kind, value, traceback)

    sys.excepthook = show


class Options(usage.Options):
    """
    Options of C{twistd tuntap}.
    """

    longdesc = "Put a program on a network interface of its own."
    subCommands: ClassVar = [["host", None, HostOptions, "Be a host on a TUN or TAP device."]]

    def postOptions(self) -> None:
        """
        Something must be asked for.
        """
        if self.subCommand is None:
            raise UsageError("say what to run: host")


def makeService(options: Options) -> Service:
    """
    The service that the options ask for.
    """
    host = options.subOptions
    tap = host["tap"] is not None
    return HostService(
        host["tap"] if tap else host["tun"], tap, host["addresses"], host["protocols"], host["kernelAddresses"]
    )
