"""
The options of C{twistd tuntap host}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, ClassVar
from warnings import catch_warnings, simplefilter

from twisted.internet.protocol import DatagramProtocol
from twisted.python.reflect import namedAny
from twisted.python.usage import UsageError

from txtuntap.device import TAP, TUN
from txtuntap.device.settings import unreached
from txtuntap.ethernet import EthernetProtocol
from txtuntap.ip.addresses import Addresses
from txtuntap.layer.prefixes import prefixSet
from txtuntap.network.clock import SimulationClock
from txtuntap.service.options.interface import InterfaceOptions, about
from txtuntap.stack.host import Host
from txtuntap.udp.echo import Discard, Echo

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice

#: As many as the kernel has for one device (MAX_TAP_QUEUES).
MAX_QUEUES = 256


class HostOptions(InterfaceOptions):
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
        ["mac", None, None, "The host's link address on a tap; by default a random one."],
        ["queues", None, None, "How many processes share the device, each a host with the same addresses."],
        ["queue", None, None, "The descriptor of one of its queues: how each of these processes is started."],
    ]

    def __init__(self) -> None:
        super().__init__()
        #: As they were given.
        self.arguments: list[str] = []
        self["addresses"] = []
        self["anyAddresses"] = []
        self["answerFor"] = []
        self["answerExcept"] = []
        self["gateways"] = []
        self["udp"] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Take note of the arguments: other processes are started with them.
        """
        self.arguments = list(options or ())
        super().parseOptions(options)  # type: ignore[no-untyped-call]

    @about(
        """
        An address of the host, such as 10.0.0.2/24 or fd00::2/64. May be repeated.
        """
    )
    def opt_address(self, cidr: str) -> None:
        self["addresses"].append(_address("--address", cidr))

    @about(
        """
        A network whose every address is the host's, such as 10.0.0.0/8, reached by a route. May be repeated.
        """
    )
    def opt_any_address(self, cidr: str) -> None:
        network = _network("--any-address", cidr)
        try:
            Addresses().addNetwork(cidr)
        except ValueError as e:
            raise UsageError(f"--any-address: {e}") from e
        self["anyAddresses"].append(network)

    @about(
        """
        A network, one of --any-address or within it, for whose addresses ARP requests and neighbour solicitations are
        answered, but for those that others are heard to have. May be repeated.
        """
    )
    def opt_answer_for(self, cidr: str) -> None:
        self["answerFor"].append(_network("--answer-for", cidr))

    @about(
        """
        An address or a network that is not answered for all the same. May be repeated.
        """
    )
    def opt_answer_except(self, cidr: str) -> None:
        self["answerExcept"].append(_network("--answer-except", cidr))

    @about(
        """
        The next hop of the default route. May be repeated, once for each IP version.
        """
    )
    def opt_gateway(self, address: str) -> None:
        try:
            gateway = ip_address(address)
        except ValueError as e:
            raise UsageError(f"--gateway: {e}") from e
        if any(ip_address(other).version == gateway.version for other in self["gateways"]):
            raise UsageError(f"--gateway: {gateway} is a second one of its IP version")
        self["gateways"].append(str(gateway))

    @about(
        """
        PORT=WHAT: what to serve on a UDP port. May be repeated.
        """
    )
    def opt_udp(self, service: str) -> None:
        port, equals, what = service.partition("=")
        if not equals or not what:
            raise UsageError(f"--udp takes PORT=WHAT, such as 7=echo, not {service!r}")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise UsageError(f"--udp: a port is a number from 1 to 65535, not {port!r}")
        self["udp"].append((int(port), what))

    def postOptions(self) -> None:
        """
        Check what only the options together tell.
        """
        self._checkQueues()
        super().postOptions()
        if self["autoconfigure"] and self["tap"] is None:
            raise UsageError("--autoconfigure: only on a tap are there routers that advertise")
        if not self["addresses"] and not self["anyAddresses"] and not self["autoconfigure"]:
            raise UsageError("give the host an --address, such as 10.0.0.2/24")
        taken = prefixSet(self["anyAddresses"])
        for network in self["answerFor"]:
            if self["tap"] is None:
                raise UsageError("--answer-for: only on a tap is anybody asked for an address")
            if not taken.covers(ip_network(network)):
                raise UsageError(f"--answer-for: {network} is in no --any-address: give it as one as well")
        if self["answerExcept"] and not self["answerFor"]:
            raise UsageError("--answer-except: there is no --answer-for to except anything from")
        self._checkGateways()
        if self["mac"] is not None:
            if self["tap"] is None:
                raise UsageError("--mac: only a tap has a link address")
            try:
                station = EthernetProtocol(self["mac"]).address
            except ValueError as e:
                raise UsageError(f"--mac: {e}") from e
            if self["settings"] is not None and self["settings"].linkAddress == station:
                raise UsageError(f"--mac: {self['mac']} is the --lladdr of the kernel's end: each end has its own")
        ports: set[int] = set()
        for port, _ in self["udp"]:
            if port in ports:
                raise UsageError(f"--udp: port {port} is given twice")
            ports.add(port)
        self._checkKernelEnd()
        ours = {ip_interface(own).ip for own in self["addresses"]}
        for address in self["kernelAddresses"]:
            if address.interface.ip in ours:
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

    def _checkGateways(self) -> None:
        """
        Check that a host can have these gateways, and these addresses together.
        """
        try:
            tried = Host(self["addresses"], SimulationClock())
        except ValueError as e:
            raise UsageError(f"--address: {e}") from e
        for gateway in self["gateways"]:
            try:
                with catch_warnings():
                    # The host of the service warns.
                    simplefilter("ignore")
                    tried.addRoute("::/0" if ":" in gateway else "0.0.0.0/0", gateway)
            except ValueError as e:
                raise UsageError(f"--gateway: {e}") from e

    def _checkKernelEnd(self) -> None:
        """
        Check that the kernel's end, where its addresses are given, leads to this host.
        """
        own = [ip_interface(address) for address in self["addresses"]]
        lost = unreached(self["kernelAddresses"], self["kernelRoutes"], own)
        if lost is not None:
            raise UsageError(f"--kernel-address: {lost}")

    def makeQueues(self, name: str) -> list[LinuxDevice]:
        """
        The device once more for each process but the first.

        @param name: what it is called.
        """
        from txtuntap.device.linux.device import NODE, LinuxDevice

        mode = TUN if self["tap"] is None else TAP
        return [LinuxDevice(name, mode, multiQueue=True, node=self["node"] or NODE) for _ in range(1, self["queues"])]

    def _checkQueues(self) -> None:
        queues = self["queues"] or "1"
        if not (queues.isascii() and queues.isdigit() and 1 <= int(queues) <= MAX_QUEUES):
            raise UsageError(f"--queues is a number from 1 to {MAX_QUEUES}, not {queues!r}")
        self["queues"] = int(queues)
        if self["queue"] is not None:
            # Of what the others have opened and set, this takes its part.
            for option in "netns", "node", "user", "group", "mtu", "txqueuelen", "lladdr", "queues":
                self[option] = None
            flags = "multi-queue", "exclusive", "persistent", "no-persistent", "carrier", "no-carrier", "down", "undo"
            for option in flags:
                self[option] = 0
            self["kernelAddresses"], self["kernelRoutes"], self["kernelNeighbours"] = [], [], {}
            self["descriptor"] = self["queue"]
        elif self["queues"] > 1:
            for option in "descriptor", "helper":
                if self[option] is not None:
                    raise UsageError(f"--queues: there is but one by --{option}")
            if self["netns"] is not None:
                # The others cannot enter it, to see what becomes of the interface.
                raise UsageError("--queues: start all of it there, with 'ip netns exec', in place of --netns")
            if self["autoconfigure"]:
                raise UsageError("--queues: each --autoconfigure would see but some of what routers send")
            if self["tap"] is not None and self["mac"] is None:
                raise UsageError("--queues: on a tap, all of them need the same --mac")
            if self["prometheus"] is not None:
                raise UsageError("--prometheus: with --queues, each process has counters of its own")
            self["multi-queue"] = 1


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
