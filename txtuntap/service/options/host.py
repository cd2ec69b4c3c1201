"""
The options of the command C{twistd tuntap host}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import ClassVar
from warnings import catch_warnings, simplefilter

import attrs
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import DatagramProtocol
from twisted.python.usage import CompleteFiles, Completer, Completions, UsageError

from txtuntap.device import TUN, interfaceName
from txtuntap.device.platform import platformModule, requireLinux
from txtuntap.device.settings import unreached
from txtuntap.ethernet import EthernetProtocol
from txtuntap.ip.addresses import Addresses
from txtuntap.layer.prefixes import prefixSet
from txtuntap.middleware import Netem
from txtuntap.mistakes import checkMTU
from txtuntap.network.clock import SimulationClock
from txtuntap.service.options.help import about, repeatable
from txtuntap.service.options.interface import InterfaceOptions, InterfaceServiceSettings
from txtuntap.service.options.served import makeServices, parseService
from txtuntap.service.options.service import PageSettings, naming
from txtuntap.service.options.wireguardfile import (
    DEFAULT_MTU,
    IGNORE_HOOKS,
    WireGuardSettings,
    readConfiguration,
    requireWireGuard,
)
from txtuntap.stack.host import Host
from txtuntap.tcp import echo as tcp
from txtuntap.udp import echo as udp

#: The most queues that the kernel supports for one device (C{MAX_TAP_QUEUES}).
MAX_QUEUES = 256

#: The options that a host without a device has, too.
_WITHOUT_DEVICE = {"wireguard", "ignore-hooks", "mtu", "impairment"}

#: The command that starts a process of a further queue, before the arguments of the first process. Its last word is no
#: option, so that neither C{--help} nor a shell offers it.
_QUEUE = "queue"
_COMMAND = sys.executable, "-m", "twisted", "--log-format=text", "tuntap", "host", _QUEUE


@attrs.frozen(kw_only=True)
class QueueSettings:
    """
    The settings of the further processes that share the device of a host. Each has a queue of its own: see
    L{txtuntap.device.linux.queues}.

    @ivar processes: the number of further processes.
    @ivar node: the device node at which each queue is opened; C{None}: the default node.
    @ivar command: the command that each further process runs.
    """

    processes: int
    node: str | None = None
    command: Sequence[str]


@attrs.frozen(kw_only=True)
class HostSettings:
    """
    The settings of a host, and of what it serves. The fields that are not described here are arguments of L{Host}.

    @ivar protocols: the UDP ports, and the protocol on each.
    @ivar factories: the TCP ports, and the factory of the connections to each.
    @ivar prometheus: the endpoint at which metrics are served; C{None}: metrics are not served.
    @ivar page: the settings of the live page; C{None}: there is none.
    """

    addresses: Sequence[str] = ()
    linkAddress: str | None = None
    gateways: Sequence[str] = ()
    anyAddresses: Sequence[str] = ()
    answerFor: Sequence[str] = ()
    answerExcept: Sequence[str] = ()
    autoconfigure: bool = False
    protocols: Sequence[tuple[int, DatagramProtocol]] = ()
    factories: Sequence[tuple[int, IProtocolFactory]] = ()
    prometheus: str | None = None
    page: PageSettings | None = None


@attrs.frozen(kw_only=True)
class HostServiceSettings(HostSettings):
    """
    The settings of a L{HostService<txtuntap.service.host.HostService>}.

    @ivar interface: the settings of the interface that the host is on.
    @ivar queues: the settings of the further processes that share the device; C{None}: there are none.
    @ivar isQueue: whether this is a further process. It ends with the process that has started it.
    """

    interface: InterfaceServiceSettings
    queues: QueueSettings | None = None
    isQueue: bool = False


@attrs.frozen(kw_only=True)
class WireGuardHostSettings(HostSettings):
    """
    The settings of a L{WireGuardHostService<txtuntap.service.wireguardhost.WireGuardHostService>}.

    @ivar name: the name of the control socket, which is that of the file.
    @ivar wireguard: the settings of WireGuard.
    @ivar mtu: the most octets of a packet inside.
    @ivar control: whether the service has a control socket.
    @ivar impairment: the faults of packets inside in both directions, which the live page can change; C{None}: none,
        and none can be set.
    """

    name: str
    wireguard: WireGuardSettings
    mtu: int
    control: bool = True
    impairment: Netem | None = None


class HostOptions(InterfaceOptions):
    """
    The options of the command C{twistd tuntap host}.

    @ivar settings: once parsed, the settings of the service.
    """

    settings: HostServiceSettings | WireGuardHostSettings

    synopsis = "--tun NAME|--tap NAME --address CIDR [options]"
    longdesc = (
        "Be a host on a TUN or TAP device, and serve UDP and TCP there. WHAT is echo, discard, or a dotted name, found"
        " as 'python -m' would find it: in the working directory, on PYTHONPATH, or installed. For --udp, the name is"
        " that of a DatagramProtocol class; for --tcp, of a Protocol class or of a factory. For both, it may be that of"
        " a class or function which makes such an object without arguments."
    )
    optGroups: ClassVar = {
        "Host": ["address", "gateway", "any-address", "answer-for", "answer-except", "mac", "autoconfigure"],
        "Services": ["udp", "tcp", "queues"],
        "WireGuard in place of a device": ["wireguard", "ignore-hooks"],
    }
    compData: ClassVar = Completions(
        multiUse=["address", "gateway", "any-address", "answer-for", "answer-except", "udp", "tcp"],
        optActions={
            "address": Completer("address"),
            "gateway": Completer("address"),
            "any-address": Completer("network"),
            "answer-for": Completer("network"),
            "answer-except": Completer("network"),
            "mac": Completer("link address"),
            "udp": Completer("PORT=WHAT"),
            "tcp": Completer("PORT=WHAT"),
            "queues": Completer("number"),
            "wireguard": CompleteFiles("*.conf"),
        },
    )
    optFlags: ClassVar = [
        ["autoconfigure", None, "On a tap, take IPv6 addresses and routes from router advertisements (SLAAC)."],
        IGNORE_HOOKS,
    ]
    optParameters: ClassVar = [
        ["mac", None, None, "The host's link address on a tap; by default a random one."],
        ["queues", None, None, "The number of processes that share the device, each a host with the same addresses."],
        ["wireguard", None, None, "The file of wg-quick by which the host is in a network of WireGuard, on no device."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._arguments: list[str] = []
        self._isQueue = False
        self._addresses: list[str] = []
        self._anyAddresses: list[str] = []
        self._answerFor: list[str] = []
        self._answerExcept: list[str] = []
        self._gateways: list[str] = []
        self._udp: list[tuple[int, str]] = []
        self._tcp: list[tuple[int, str]] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Record the arguments, because further processes are started with them, and parse them.
        """
        self._arguments = list(sys.argv[1:] if options is None else options)
        self._isQueue = self._arguments[:1] == [_QUEUE]
        if self._isQueue:
            del self._arguments[0]
        super().parseOptions(self._arguments)  # type: ignore[no-untyped-call]

    @repeatable("An address of the host, such as 10.0.0.2/24 or fd00::2/64.")
    def opt_address(self, cidr: str) -> None:
        with naming("--address"):
            self._addresses.append(str(Addresses().add(cidr)))

    @repeatable("A network whose addresses all belong to the host, such as 10.0.0.0/8; others need a route to it.")
    def opt_any_address(self, cidr: str) -> None:
        with naming("--any-address"):
            network = str(ip_network(cidr))
            Addresses().addNetwork(cidr)
        self._anyAddresses.append(network)

    @repeatable(
        """
        A network, equal to one of --any-address or within it, for whose addresses the host answers ARP requests and
        neighbour solicitations. It does not answer for addresses that other stations are seen to have.
        """
    )
    def opt_answer_for(self, cidr: str) -> None:
        with naming("--answer-for"):
            self._answerFor.append(str(ip_network(cidr)))

    @repeatable("An exception to --answer-for: an address or a network that the host does not answer for.")
    def opt_answer_except(self, cidr: str) -> None:
        with naming("--answer-except"):
            self._answerExcept.append(str(ip_network(cidr)))

    @about("The next hop of the default route. May be repeated, once for each IP version.")
    def opt_gateway(self, address: str) -> None:
        with naming("--gateway"):
            gateway = ip_address(address)
            if any(ip_address(other).version == gateway.version for other in self._gateways):
                raise ValueError(f"{gateway} is a second gateway of its IP version: give one")
        self._gateways.append(str(gateway))

    @repeatable("PORT=WHAT: what to serve on a UDP port.")
    def opt_udp(self, service: str) -> None:
        self._udp.append(parseService("--udp", service, self._udp))

    @repeatable("PORT=WHAT: what to serve on a TCP port.")
    def opt_tcp(self, service: str) -> None:
        self._tcp.append(parseService("--tcp", service, self._tcp))

    def postOptions(self) -> None:
        """
        Check the options together, and make settings from them.
        """
        path = self.valueOf("wireguard")
        if path is not None:
            self.settings = self._wireguardHost(path)
            return
        if self.isGiven("ignore-hooks"):
            raise UsageError("--ignore-hooks: there is no --wireguard, which this is about")
        queues = self._queues()
        super().postOptions()
        autoconfigure = self.isGiven("autoconfigure")
        if autoconfigure and self.mode == TUN:
            raise UsageError("--autoconfigure: only a tap receives router advertisements")
        if not self._addresses and not self._anyAddresses and not autoconfigure:
            raise UsageError("give the host an --address, such as 10.0.0.2/24")
        self._checkAnswers()
        self._checkGateways()
        self._checkLinkAddress()
        self._checkKernelEnd()
        self.settings = HostServiceSettings(
            interface=self.interface,
            addresses=tuple(self._addresses),
            linkAddress=self.valueOf("mac"),
            gateways=tuple(self._gateways),
            anyAddresses=tuple(self._anyAddresses),
            answerFor=tuple(self._answerFor),
            answerExcept=tuple(self._answerExcept),
            autoconfigure=autoconfigure,
            protocols=self._protocols(),
            factories=self._factories(),
            queues=queues,
            isQueue=self._isQueue,
            prometheus=self.prometheus,
            page=self.page,
        )

    def _wireguardHost(self, path: str) -> WireGuardHostSettings:
        """
        Read the file of WireGuard, and check it together with the options.

        @param path: the path of the file.

        @return: the settings of a host without a device.
        """
        self._refuseDevice()
        self.mode = TUN
        with naming("--wireguard"):
            requireWireGuard()
            wireguard = readConfiguration(path, self.isGiven("ignore-hooks"))
            name = interfaceName(os.path.basename(path).removesuffix(".conf"))
            configuration = wireguard.configuration
            self._addresses += [str(Addresses().add(str(each))) for each in configuration.addresses]
            if not self._addresses and not self._anyAddresses:
                raise UsageError(f"{path} has no Address, such as Address = 10.0.0.2/32: add it, or give --address")
            mtu = self._number("mtu") or configuration.mtu or DEFAULT_MTU
            checkMTU(mtu)
        self._checkAnswers()
        self._checkGateways()
        self.checkObservation()
        warnings = [f"{path}: DNS is ignored, because a host looks up no names"] if configuration.nameServers else []
        return WireGuardHostSettings(
            name=os.fsdecode(name),
            wireguard=attrs.evolve(wireguard, warnings=(*wireguard.warnings, *warnings)),
            mtu=mtu,
            control=self.control,
            impairment=self.impairment,
            addresses=tuple(self._addresses),
            anyAddresses=tuple(self._anyAddresses),
            protocols=self._protocols(),
            factories=self._factories(),
            prometheus=self.prometheus,
            page=self.page,
        )

    def _refuseDevice(self) -> None:
        """
        Refuse the options about a device, because there is none.
        """
        options = [*InterfaceOptions.optFlags, *InterfaceOptions.optParameters, *HostOptions.optFlags]
        names = {str(each[0]) for each in [*options, *HostOptions.optParameters]} - _WITHOUT_DEVICE
        given = [name for name in [*sorted(names), "no-offload"] if self[name]]
        for name, values in (
            ("kernel-address", self.kernelAddresses),
            ("kernel-route", self.kernelRoutes),
            ("kernel-neighbour", self.kernelNeighbours),
            ("gateway", self._gateways),
        ):
            if values:
                given.append(name)
        if given:
            raise UsageError(f"--{given[0]}: a host with --wireguard is on no device: leave out one of the two")

    def _checkAnswers(self) -> None:
        """
        Check that the host can answer for the addresses of C{--answer-for}.
        """
        taken = prefixSet(self._anyAddresses)
        for network in self._answerFor:
            if self.mode == TUN:
                raise UsageError("--answer-for: only on a tap are link addresses resolved")
            if not taken.covers(ip_network(network)):
                raise UsageError(f"--answer-for: {network} is in no --any-address: give it as --any-address, too")
        if self._answerExcept and not self._answerFor:
            raise UsageError("--answer-except: there is no --answer-for: give that, too")

    def _checkGateways(self) -> None:
        """
        Check that a host can have these gateways together with its addresses.
        """
        with naming("--address"):
            trial = Host(self._addresses, SimulationClock())
        for gateway in self._gateways:
            with naming("--gateway"), catch_warnings():
                # The host of the service gives the same warning later.
                simplefilter("ignore")
                trial.addRoute("::/0" if ":" in gateway else "0.0.0.0/0", gateway)

    def _checkLinkAddress(self) -> None:
        """
        Check that the host can have its link address, and that the kernel's end has another one.
        """
        text = self.valueOf("mac")
        if text is None:
            return
        if self.mode == TUN:
            raise UsageError("--mac: only a tap has a link address")
        with naming("--mac"):
            station = EthernetProtocol(text).address
        if self.kernelEnd is not None and self.kernelEnd.linkAddress == station:
            raise UsageError(f"--mac: {text} is the --lladdr of the kernel's end: each end has its own")

    def _checkKernelEnd(self) -> None:
        """
        Check that the kernel can reach the host from the addresses of its end, if they are given.
        """
        own = [ip_interface(address) for address in self._addresses]
        problem = unreached(self.kernelAddresses, self.kernelRoutes, own)
        if problem is not None:
            raise UsageError(f"--kernel-address: {problem}")
        ours = {each.ip for each in own}
        for address in self.kernelAddresses:
            if address.interface.ip in ours:
                raise UsageError(f"--kernel-address: {address} is the host's --address: each end has its own")

    def _protocols(self) -> list[tuple[int, DatagramProtocol]]:
        """
        Make the protocols that are served on UDP ports.
        """
        echoPorts = frozenset(port for port, what in self._udp if what == "echo")
        known: Mapping[str, object] = {"echo": lambda: udp.Echo(echoPorts), "discard": udp.Discard}

        def isProtocol(found: object) -> bool:
            return isinstance(found, DatagramProtocol)

        return makeServices("--udp", self._udp, known, isProtocol, "a DatagramProtocol")

    def _factories(self) -> list[tuple[int, IProtocolFactory]]:
        """
        Make the factories of the connections to TCP ports.
        """
        known: Mapping[str, object] = {"echo": tcp.Echo, "discard": tcp.Discard}
        return makeServices("--tcp", self._tcp, known, IProtocolFactory.providedBy, "a factory of protocols")

    def _queues(self) -> QueueSettings | None:
        """
        Return the settings of the further processes; C{None} if there are none, or if this is one of them.
        """
        text = self.valueOf("queues") or "1"
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_QUEUES):
            raise UsageError(f"--queues is a number from 1 to {MAX_QUEUES}, not {text!r}")
        if self._isQueue:
            self._shareDevice()
            return None
        if int(text) == 1:
            return None
        try:
            requireLinux("--queues", "leave it out, and run one process")
        except OSError as e:
            raise UsageError(e.strerror) from e
        for option in "descriptor", "helper":
            if self.valueOf(option) is not None:
                raise UsageError(f"--queues: --{option} gives only one queue")
        if self.valueOf("netns") is not None:
            # The further processes cannot enter the namespace, so they could not watch the interface.
            raise UsageError("--queues: start the service with 'ip netns exec' in place of --netns")
        if self.isGiven("autoconfigure"):
            raise UsageError("--queues: with --autoconfigure, each process would miss router advertisements")
        if self.valueOf("tap") is not None and self.valueOf("mac") is None:
            raise UsageError("--queues: on a tap, all processes need the same link address: give --mac")
        if self.prometheus is not None:
            raise UsageError("--prometheus: with --queues, each process has counters of its own")
        if self.page is not None:
            raise UsageError("--page: with --queues, each process has counters of its own")
        self["multi-queue"] = 1
        command = [*_COMMAND, *self._arguments]
        return QueueSettings(processes=int(text) - 1, node=self.valueOf("node"), command=command)

    def _shareDevice(self) -> None:
        """
        Reset the options about the device that only the first process applies, and use a queue of its device.
        """
        for option in "netns", "node", "user", "group", "mtu", "txqueuelen", "lladdr":
            self[option] = None
        flags = "multi-queue", "exclusive", "persistent", "no-persistent", "carrier", "no-carrier", "hardened", "down"
        for flag in *flags, "undo":
            self[flag] = 0
        self.kernelAddresses, self.kernelRoutes, self.kernelNeighbours = [], [], {}
        # The control socket of the first process captures the packets of all queues.
        self["no-control"] = 1
        self["descriptor"] = str(platformModule("queues").DESCRIPTOR)
