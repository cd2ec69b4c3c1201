"""
What is behind C{twistd tuntap}: services and their options.

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=echo
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from types import TracebackType
from typing import Any, ClassVar, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from twisted.python.usage import UsageError

from txtuntap.addresses import Addresses
from txtuntap.device import interfaceName
from txtuntap.device.settings import InterfaceRoute, InterfaceSettings
from txtuntap.stack.anyip import isWithin
from txtuntap.stack.host import Host
from txtuntap.tuntap import TuntapPort
from txtuntap.wire.address import packLinkAddress

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
    optFlags: ClassVar = [
        ["autoconfigure", None, "On a tap, take IPv6 addresses and routes from routers that advertise (SLAAC)."],
    ]
    optParameters: ClassVar = [
        ["tun", None, None, "Name of the tun interface (IP packets)."],
        ["tap", None, None, "Name of the tap interface (Ethernet frames)."],
        ["mac", None, None, "The host's link address on a tap; by default a random one."],
        ["mtu", None, None, "The interface's MTU, in octets."],
        ["txqueuelen", None, None, "How many packets wait to be read."],
        ["lladdr", None, None, "The link address of the kernel's end of a tap."],
        ["user", None, None, "Who may open the device without privilege."],
        ["group", None, None, "Whose members may."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["addresses"] = []
        self["anyAddresses"] = []
        self["answerFor"] = []
        self["answerExcept"] = []
        self["gateways"] = []
        self["kernelAddresses"] = []
        self["kernelRoutes"] = []
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

    def opt_kernel_route(self, route: str) -> None:
        """
        A route of the kernel's by way of the interface, such as 10.1.0.0/16 or "10.1.0.0/16 via 10.0.0.2". May be
        repeated.
        """
        try:
            self["kernelRoutes"].append(InterfaceRoute.of(route))
        except ValueError as e:
            raise UsageError(f"--kernel-route: {e}") from e

    def opt_any_address(self, cidr: str) -> None:
        """
        A network whose every address is the host's, such as 10.0.0.0/8, reached by a route. May be repeated.
        """
        self["anyAddresses"].append(_network("--any-address", cidr))

    def opt_answer_for(self, cidr: str) -> None:
        """
        A network, one of --any-address or within it, for whose addresses ARP requests and neighbour solicitations are
        answered, but for those that others are heard to have. May be repeated.
        """
        self["answerFor"].append(_network("--answer-for", cidr))

    def opt_answer_except(self, cidr: str) -> None:
        """
        An address or a network that is not answered for all the same. May be repeated.
        """
        self["answerExcept"].append(_network("--answer-except", cidr))

    def opt_gateway(self, address: str) -> None:
        """
        The next hop of the default route. May be repeated, once for each IP version.
        """
        try:
            self["gateways"].append(str(ip_address(address)))
        except ValueError as e:
            raise UsageError(f"--gateway: {e}") from e

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
        if self["autoconfigure"] and self["tap"] is None:
            raise UsageError("--autoconfigure: only on a tap are there routers that advertise")
        if not self["addresses"] and not self["anyAddresses"] and not self["autoconfigure"]:
            raise UsageError("give the host an --address, such as 10.0.0.2/24")
        for network in self["answerFor"]:
            if self["tap"] is None:
                raise UsageError("--answer-for: only on a tap is anybody asked for an address")
            if not isWithin(network, self["anyAddresses"]):
                raise UsageError(f"--answer-for: {network} is in no --any-address: give it as one as well")
        if self["answerExcept"] and not self["answerFor"]:
            raise UsageError("--answer-except: there is no --answer-for to except anything from")
        if self["mac"] is not None:
            if self["tap"] is None:
                raise UsageError("--mac: only a tap has a link address")
            try:
                packLinkAddress(self["mac"])
            except ValueError as e:
                raise UsageError(f"--mac: {e}") from e
        self["settings"] = self._interfaceSettings()
        ports = [port for port, _ in self["udp"]]
        for port in ports:
            if ports.count(port) > 1:
                raise UsageError(f"--udp: port {port} is given twice")
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

    def _interfaceSettings(self) -> InterfaceSettings | None:
        fields: dict[str, Any] = {"addresses": self["kernelAddresses"], "routes": self["kernelRoutes"]}
        for option, field in ("lladdr", "linkAddress"), ("user", "owner"), ("group", "group"):
            fields[field] = self[option]
        for option in "mtu", "txqueuelen":
            if self[option] is not None and not self[option].isdigit():
                raise UsageError(f"--{option}: {self[option]!r} is no number")
            fields[option] = None if self[option] is None else int(self[option])
        if not any(fields.values()):
            return None
        try:
            # Whoever only has it set up some other way need not have it set up here.
            return InterfaceSettings(**fields, up=True if fields["addresses"] or fields["routes"] else None)
        except ValueError as e:
            raise UsageError(str(e)) from e


def _address(option: str, cidr: str) -> str:
    try:
        return str(Addresses().add(cidr))
    except ValueError as e:
        raise UsageError(f"{option}: {e}") from e


def _network(option: str, cidr: str) -> str:
    try:
        return str(ip_network(cidr))
    except ValueError as e:
        raise UsageError(f"{option}: {e}") from e


class HostService(Service):
    """
    A L{Host} on a TUN or TAP device, for as long as the service runs. On SIGUSR2 its counters go to the log.

    @ivar host: the host.
    @ivar port: the L{TuntapPort}.
    """

    _log = Logger()

    def __init__(
        self,
        interface: str,
        tap: bool,
        host: Host,
        protocols: Sequence[tuple[int, DatagramProtocol]] = (),
        settings: InterfaceSettings | None = None,
        reactor: Any = None,
    ) -> None:
        """
        @param interface: its name.
        @param tap: whether it is a tap, not a tun.
        @param protocols: UDP ports, and the protocol on each.
        @param settings: what the kernel's end is to be; L{None}: it is left as it is.
        """
        if reactor is None:
            from twisted.internet import reactor
        # Not on other platforms, and before the reactor runs: see txtuntap.device.netlink.
        from txtuntap.device.configure import configureNow
        from txtuntap.device.monitor import InterfaceMonitor

        self._reactor = reactor
        self._configureNow = configureNow
        self._settings = settings
        self._monitor = InterfaceMonitor(reactor)
        self.host = host
        for number, proto in protocols:
            host.listenUDP(number, proto)
        self.port = TuntapPort(interface, host.ethernet if tap else host.ip, reactor=reactor, monitor=self._monitor)

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
        self._monitor.start().addErrback(lambda reason: self._log.failure("The interface cannot be watched", reason))
        if hasattr(signal, "SIGUSR2"):
            signal.signal(signal.SIGUSR2, self._signalled)

    def stopService(self) -> Deferred[None]:
        """
        Close the device.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._monitor.stop()
        return self.port.stopListening()

    def _configure(self) -> None:
        """
        Configure the kernel's end.
        """
        if self._settings is not None:
            self._configureNow(self.port.device.name, self._settings, cast(Any, self.port.device))

    def _signalled(self, *ignored: object) -> None:
        self._reactor.callFromThread(self._dump)

    def _dump(self) -> None:
        for part, counters in {"port": self.port.counters, **self.host.counters}.items():
            counts = ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))
            self._log.info("{part}: {counts}", part=part, counts=counts or "nothing")

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
    from twisted.internet import reactor

    asked = options.subOptions
    tap = asked["tap"] is not None
    host = Host(
        asked["addresses"],
        reactor,
        linkAddress=asked["mac"],
        gateways=asked["gateways"],
        anyAddresses=asked["anyAddresses"],
        answerFor=asked["answerFor"],
        answerExcept=asked["answerExcept"],
        autoconfigure=bool(asked["autoconfigure"]),
    )
    interface = asked["tap"] if tap else asked["tun"]
    return HostService(interface, tap, host, asked["protocols"], asked["settings"])
