"""
Options about a device and its interface, which C{host} and C{tunnel} share.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar

import attrs
from twisted.python.usage import (
    CompleteFiles,
    CompleteGroups,
    CompleteNetInterfaces,
    Completer,
    CompleteUsernames,
    Completions,
    UsageError,
)

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute, InterfaceSettings, settingsOf
from txtuntap.middleware import Netem
from txtuntap.service.options.help import repeatable
from txtuntap.service.options.service import ServiceOptions, naming
from txtuntap.wire.address import packLinkAddress

if TYPE_CHECKING:
    from txtuntap.interfaces import IDevice


#: The option for each setting of the interface that has a value. The values of others are checked as they are parsed.
_SETTINGS = {
    "mtu": "--mtu",
    "linkAddress": "--lladdr",
    "txqueuelen": "--txqueuelen",
    "owner": "--user",
    "group": "--group",
}

#: The option for each argument of a device.
_DEVICE = {
    "multiQueue": "multi-queue",
    "exclusive": "exclusive",
    "node": "node",
    "namespace": "netns",
    "library": "wintun",
}


@attrs.frozen(kw_only=True)
class InterfaceServiceSettings:
    """
    The settings of an L{InterfaceService<txtuntap.service.interface.InterfaceService>}.

    @ivar device: the device, not open yet.
    @ivar kernelEnd: the configuration of the kernel's end of the interface; C{None}: the service does not configure it.
    @ivar undo: whether to restore the previous configuration when the service stops, if the interface remains.
    @ivar offload: whether packets are read and written as superpackets: see L{TuntapPort<txtuntap.tuntap.TuntapPort>}.
    @ivar control: whether the service has a control socket, and a L{Capture<txtuntap.middleware.Capture>} for its
        clients.
    @ivar impairment: the faults of packets in both directions, which the live page can change; C{None}: none, and none
        can be given.
    @ivar maxPacketSize: the most octets to read of a packet; C{None}: all that the link can carry, whatever its MTU.
    """

    device: IDevice
    kernelEnd: InterfaceSettings | None = None
    undo: bool = False
    offload: bool | None = None
    control: bool = True
    impairment: Netem | None = None
    maxPacketSize: int | None = None


class InterfaceOptions(ServiceOptions):
    """
    The options about a device and its interface.

    @ivar mode: once parsed, C{TUN} or C{TAP}.
    @ivar kernelEnd: once parsed, the configuration of the kernel's end, which the service or a helper applies; C{None}:
        the kernel's end is not configured.
    @ivar interface: once parsed, the settings of the service on the interface.
    """

    mode: int
    kernelEnd: InterfaceSettings | None
    interface: InterfaceServiceSettings

    optGroups: ClassVar = {
        "Interface": ["tun", "tap", "netns"],
        "Device": [
            *("node", "wintun", "descriptor", "helper", "exclusive", "multi-queue", "user", "group"),
            *("persistent", "no-persistent", "carrier", "no-carrier"),
        ],
        "Kernel's end of the interface": [
            *("kernel-address", "kernel-route", "kernel-neighbour", "mtu", "txqueuelen", "lladdr"),
            *("down", "hardened", "undo"),
        ],
        "Observation": ["impairment"],
    }
    compData: ClassVar = Completions(
        multiUse=["kernel-address", "kernel-route", "kernel-neighbour"],
        mutuallyExclusive=[
            ("tun", "tap"),
            ("node", "wintun", "descriptor", "helper"),
            ("persistent", "no-persistent"),
            ("carrier", "no-carrier"),
        ],
        optActions={
            "tun": CompleteNetInterfaces(),
            "tap": CompleteNetInterfaces(),
            "netns": CompleteFiles("/run/netns/*"),
            "wintun": CompleteFiles("*.dll"),
            "descriptor": Completer("descriptor"),
            "user": CompleteUsernames(),
            "group": CompleteGroups(),
            "kernel-address": Completer("address"),
            "kernel-route": Completer("route"),
            "kernel-neighbour": Completer("neighbour"),
            "mtu": Completer("octets"),
            "txqueuelen": Completer("packets"),
            "lladdr": Completer("link address"),
        },
    )
    optFlags: ClassVar = [
        ["multi-queue", None, "Make a device that several programs can open at once."],
        ["exclusive", None, "Create the device; fail if it exists already."],
        ["persistent", None, "Keep the device when no program has it open."],
        ["no-persistent", None, "Delete the device when no program has it open."],
        ["carrier", None, "Switch the carrier of the link on."],
        ["no-carrier", None, "Switch the carrier of the link off."],
        ["hardened", None, "Have the kernel ignore router advertisements, redirects and source routes."],
        ["down", None, "Set the interface down, or leave it down."],
        ["undo", None, "When stopped, restore the previous configuration of an interface that remains."],
    ]
    optParameters: ClassVar = [
        ["tun", None, None, "Name of the tun interface (IP packets)."],
        ["tap", None, None, "Name of the tap interface (Ethernet frames)."],
        ["netns", None, None, "The network namespace of the interface: a name or a path."],
        ["node", None, None, "The device node of Linux; by default /dev/net/tun."],
        [
            "wintun",
            None,
            None,
            "The path of wintun.dll on Windows; by default beside Python, or in the directory of the system.",
        ],
        [
            "descriptor",
            None,
            None,
            "A descriptor that another program has opened: its number, or its name for systemd.",
        ],
        [
            "impairment",
            None,
            None,
            "Faults of packets in both directions, such as 'delay 50ms loss 1%'. With --page-control, the page changes"
            " them; '' has none at first.",
        ],
        ["helper", None, None, "The socket of a helper, which opens the device and configures the interface."],
        ["mtu", None, None, "The interface's MTU, in octets."],
        ["txqueuelen", None, None, "The most packets that the kernel queues for reading."],
        ["lladdr", None, None, "The link address of the kernel's end of a tap."],
        ["user", None, None, "The user who may open the device without privileges."],
        ["group", None, None, "The group whose members may open the device without privileges."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.kernelAddresses: list[InterfaceAddress] = []
        self.kernelRoutes: list[InterfaceRoute] = []
        self.kernelNeighbours: dict[str, bytes] = {}

    @repeatable(
        """
        An address for the kernel's end of the interface, such as 10.0.0.1/24, "10.0.0.1 peer 10.0.0.2/32" or
        "10.0.0.1/24 broadcast 10.0.0.255". The interface is then set up.
        """
    )
    def opt_kernel_address(self, cidr: str) -> None:
        with naming("--kernel-address"):
            self.kernelAddresses.append(InterfaceAddress.of(cidr))

    @repeatable(
        """
        A route of the kernel through the interface, such as 10.1.0.0/16 or "10.1.0.0/16 via 10.0.0.2 metric 5 src
        10.0.0.1".
        """
    )
    def opt_kernel_route(self, route: str) -> None:
        with naming("--kernel-route"):
            self.kernelRoutes.append(InterfaceRoute.of(route))

    @repeatable("ADDRESS=LINK-ADDRESS: a neighbour on a tap whose link address the kernel need not resolve.")
    def opt_kernel_neighbour(self, pair: str) -> None:
        address, _, station = pair.partition("=")
        with naming("--kernel-neighbour takes ADDRESS=LINK-ADDRESS"):
            self.kernelNeighbours[str(ip_address(address))] = packLinkAddress(station)

    def postOptions(self) -> None:
        """
        Check the options together, and make settings from them.
        """
        given = [(mode, option) for mode, option in ((TUN, "tun"), (TAP, "tap")) if self.valueOf(option) is not None]
        if len(given) != 1:
            raise UsageError("give one of --tun NAME and --tap NAME")
        ((self.mode, option),) = given
        with naming(f"--{option}"):
            interfaceName(self[option])
        self._checkDevice()
        self.checkObservation()
        self.kernelEnd = self._kernelEnd()
        if self.isGiven("undo") and self.kernelEnd is None:
            raise UsageError("--undo: nothing is set that could be undone: give --kernel-address, for instance")
        with naming(f"--{option}"):
            # The name decides which kind of device this is, and which other options it needs.
            device = self._device(self[option])
        self.interface = InterfaceServiceSettings(
            device=device,
            kernelEnd=self.kernelEnd if self.valueOf("helper") is None else None,
            undo=self.isGiven("undo"),
            offload=self.offload,
            control=self.control,
            impairment=self.impairment,
        )

    @property
    def impairment(self) -> Netem | None:
        """
        The faults of C{--impairment}; C{None}: it is not given.
        """
        text = self.valueOf("impairment")
        if text is None:
            return None
        with naming("--impairment"):
            return Netem.of(text)

    def _device(self, name: str) -> IDevice:
        """
        Make the device that the options describe, not open yet.
        """
        from txtuntap.device.choice import makeDevice
        from txtuntap.device.helper.device import HelpedDevice

        helper, descriptor = self.valueOf("helper"), self.valueOf("descriptor")
        if helper is not None:
            return HelpedDevice(name, self.mode, self.kernelEnd, helper)
        given = None if descriptor is None else _descriptor(descriptor)
        options = {argument: self[option] for argument, option in _DEVICE.items() if self[option]}
        address = next((each for each in self.kernelAddresses if each.interface.version == 4), None)
        try:
            return makeDevice(name, self.mode, descriptor=given, address=address, **options)
        except OSError as e:
            # The first option is the first that another platform than Linux lacks.
            asked = [f"--{_DEVICE[argument]}" for argument in options]
            raise UsageError(": ".join([*asked[:1], str(e.strerror)])) from e

    def _checkDevice(self) -> None:
        """
        Check that the options about the device do not contradict each other.
        """
        sources = [option for option in ("helper", "descriptor", "node", "wintun") if self[option] is not None]
        if len(sources) > 1:
            raise UsageError(f"--{sources[1]}: the device is given by --{sources[0]} already: leave one of them out")
        elsewhere = sources and sources[0] in ("helper", "descriptor")
        for option in "netns", "exclusive", "multi-queue":
            if elsewhere and self[option]:
                raise UsageError(f"--{option}: with --{sources[0]}, another program opens the device and decides that")
        for option in "user", "group", "persistent", "no-persistent", "carrier", "no-carrier":
            if sources == ["helper"] and self[option]:
                raise UsageError(f"--{option}: a helper does not configure that")
        if sources == ["helper"] and self.isGiven("undo"):
            raise UsageError("--undo: the helper always restores a device that existed before: leave it out")
        for option in "persistent", "carrier":
            if self.isGiven(option) and self.isGiven(f"no-{option}"):
                raise UsageError(f"--{option}: --no-{option} is given, too: leave one of them out")
        if self.valueOf("lladdr") is not None and self.mode == TUN:
            raise UsageError("--lladdr: only a tap has a link address")
        if self.kernelNeighbours and self.mode == TUN:
            raise UsageError("--kernel-neighbour: only on a tap does the kernel resolve link addresses")
        if self.isGiven("down") and self.kernelRoutes:
            raise UsageError("--kernel-route: a link that is --down has no routes")

    def _kernelEnd(self) -> InterfaceSettings | None:
        # Without any addresses, routes or neighbours from the options, the state of the interface is left to other
        # programs.
        up = True if self.kernelAddresses or self.kernelRoutes or self.kernelNeighbours else None
        values = {
            "addresses": self.kernelAddresses,
            "routes": self.kernelRoutes,
            "neighbours": self.kernelNeighbours,
            "mtu": self._number("mtu"),
            "linkAddress": self.valueOf("lladdr"),
            "up": False if self.isGiven("down") else up,
            "txqueuelen": self._number("txqueuelen"),
            "owner": self.valueOf("user"),
            "group": self.valueOf("group"),
            "persistent": self._yesOrNo("persistent"),
            "carrier": self._yesOrNo("carrier"),
            "hardened": True if self.isGiven("hardened") else None,
        }
        try:
            settings = settingsOf(_SETTINGS, values)
        except ValueError as e:
            raise UsageError(str(e)) from e
        return None if settings == InterfaceSettings(up=None) else settings

    def _yesOrNo(self, option: str) -> bool | None:
        return True if self.isGiven(option) else False if self.isGiven(f"no-{option}") else None

    def _number(self, option: str) -> int | None:
        text = self.valueOf(option)
        if text is not None and not (text.isascii() and text.isdigit()):
            raise UsageError(f"--{option}: {text!r} is no number")
        return None if text is None else int(text)


def _descriptor(text: str) -> int:
    from txtuntap.device.helper.descriptors import fromSystemd

    with naming("--descriptor"):
        return int(text) if text.isascii() and text.isdigit() else fromSystemd(text)
