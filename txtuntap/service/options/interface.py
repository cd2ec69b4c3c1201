"""
Options about a device and its interface, which the services on one have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from inspect import cleandoc
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from twisted.internet.endpoints import serverFromString
from twisted.python import usage
from twisted.python.usage import UsageError

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute, InterfaceSettings
from txtuntap.wire.address import packLinkAddress

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice

_Method = TypeVar("_Method", bound=Callable[..., None])


def about(text: str) -> Callable[[_Method], _Method]:
    """
    Have the help show a text for an option, the decorated method. A docstring would not do: with C{python -OO} there is
    none, and Twisted shows it with the white space that it is indented by.
    """

    def decorated(method: _Method) -> _Method:
        method.__doc__ = cleandoc(text)
        return method

    return decorated


class PlainOptions(usage.Options):
    """
    Options without arguments beside them.
    """

    def parseArgs(self, *surplus: str) -> None:
        """
        There are options, and nothing else.
        """
        if surplus:
            raise UsageError(f"{surplus[0]!r} is none of the options")


class InterfaceOptions(PlainOptions):
    """
    Options about a device and its interface.
    """

    optFlags: ClassVar = [
        ["multi-queue", None, "Make a device that several programs can be on."],
        ["exclusive", None, "Make the device; fail where there is one of this name."],
        ["persistent", None, "Have the device stay when nobody has it open."],
        ["no-persistent", None, "Have the device go when nobody has it open."],
        ["carrier", None, "Have the link be with its carrier."],
        ["no-carrier", None, "Have the link be without its carrier."],
        ["no-offload", None, "Have every packet come and go by itself, with its checksums, as captures show best."],
        ["no-control", None, "Have no control socket, by which 'txtuntap capture' hears what passes."],
        ["hardened", None, "Have the kernel believe no router advertisement, redirect or source route that comes in."],
        ["down", None, "Set the interface down, or leave it there."],
        ["undo", None, "When stopped, take away from an interface that stays what was set."],
    ]
    optParameters: ClassVar = [
        ["tun", None, None, "Name of the tun interface (IP packets)."],
        ["tap", None, None, "Name of the tap interface (Ethernet frames)."],
        ["netns", None, None, "The network namespace of the interface: a name or a path."],
        ["node", None, None, "The device node; by default /dev/net/tun."],
        ["descriptor", None, None, "A descriptor opened elsewhere: its number, or its name with systemd."],
        ["helper", None, None, "The socket of a helper, which opens the device and sets the interface."],
        ["mtu", None, None, "The interface's MTU, in octets."],
        ["txqueuelen", None, None, "How many packets wait to be read."],
        ["lladdr", None, None, "The link address of the kernel's end of a tap."],
        ["user", None, None, "Who may open the device without privilege."],
        ["group", None, None, "Whose members may."],
        ["prometheus", None, None, "Serve /metrics there: an endpoint such as tcp:9100:interface=127.0.0.1."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["kernelAddresses"] = []
        self["kernelRoutes"] = []
        self["kernelNeighbours"] = {}

    @about(
        """
        An address for the kernel's end of the interface, which is then set up, such as 10.0.0.1/24, "10.0.0.1 peer
        10.0.0.2/32" or "10.0.0.1/24 broadcast 10.0.0.255". May be repeated.
        """
    )
    def opt_kernel_address(self, cidr: str) -> None:
        try:
            self["kernelAddresses"].append(InterfaceAddress.of(cidr))
        except ValueError as e:
            raise UsageError(f"--kernel-address: {e}") from e

    @about(
        """
        A route of the kernel's by way of the interface, such as 10.1.0.0/16 or "10.1.0.0/16 via 10.0.0.2 metric 5 src
        10.0.0.1". May be repeated.
        """
    )
    def opt_kernel_route(self, route: str) -> None:
        try:
            self["kernelRoutes"].append(InterfaceRoute.of(route))
        except ValueError as e:
            raise UsageError(f"--kernel-route: {e}") from e

    @about(
        """
        ADDRESS=LINK-ADDRESS: a neighbour that the kernel need not ask for on a tap. May be repeated.
        """
    )
    def opt_kernel_neighbour(self, pair: str) -> None:
        address, _, station = pair.partition("=")
        try:
            self["kernelNeighbours"][str(ip_address(address))] = packLinkAddress(station)
        except ValueError as e:
            raise UsageError(f"--kernel-neighbour takes ADDRESS=LINK-ADDRESS: {e}") from e

    def _device(self) -> LinuxDevice:
        """
        The device that the options ask for, not open yet.
        """
        from txtuntap.device.helper.device import HelpedDevice
        from txtuntap.device.linux.device import NODE, LinuxDevice

        name, mode = (self["tun"], TUN) if self["tap"] is None else (self["tap"], TAP)
        if self["helper"] is not None:
            return HelpedDevice(name, mode, self["settings"], self["helper"])
        return LinuxDevice(
            name,
            mode,
            multiQueue=bool(self["multi-queue"]),
            exclusive=bool(self["exclusive"]),
            node=self["node"] or NODE,
            descriptor=None if self["descriptor"] is None else _descriptor(self["descriptor"]),
            namespace=self["netns"],
        )

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
        self._checkDevice()
        if self["prometheus"] is not None:
            checkPrometheus(self["prometheus"])
        self["settings"] = self._interfaceSettings()
        if self["undo"] and self["settings"] is None:
            raise UsageError("--undo: nothing is set that could be undone: give --kernel-address, for instance")
        self["device"] = self._device()

    def _checkDevice(self) -> None:
        """
        Check that the options about the device go together.
        """
        ways = [option for option in ("helper", "descriptor", "node") if self[option] is not None]
        if len(ways) > 1:
            raise UsageError(f"--{ways[1]}: the device comes by --{ways[0]}")
        elsewhere = ways and ways[0] != "node"
        for option in "netns", "exclusive", "multi-queue":
            if elsewhere and self[option]:
                raise UsageError(f"--{option}: with --{ways[0]}, somebody else opens the device and decides that")
        for option in "user", "group", "persistent", "no-persistent", "carrier", "no-carrier":
            if ways == ["helper"] and self[option]:
                raise UsageError(f"--{option}: a helper does not set that")
        if ways == ["helper"] and self["undo"]:
            raise UsageError("--undo: the helper does that by itself, on a device that was there")
        for option in "persistent", "carrier":
            if self[option] and self[f"no-{option}"]:
                raise UsageError(f"--{option}: there is --no-{option}, too")
        if self["lladdr"] is not None and self["tap"] is None:
            raise UsageError("--lladdr: only a tap has a link address")
        if self["kernelNeighbours"] and self["tap"] is None:
            raise UsageError("--kernel-neighbour: only on a tap is anybody asked for an address")
        if self["down"] and self["kernelRoutes"]:
            raise UsageError("--kernel-route: a link that is --down has no routes")

    def _interfaceSettings(self) -> InterfaceSettings | None:
        fields: dict[str, Any] = {
            "addresses": self["kernelAddresses"],
            "routes": self["kernelRoutes"],
            "neighbours": self["kernelNeighbours"],
        }
        for option, field in ("lladdr", "linkAddress"), ("user", "owner"), ("group", "group"):
            fields[field] = self[option]
        for option in "mtu", "txqueuelen":
            if self[option] is not None and not (self[option].isascii() and self[option].isdigit()):
                raise UsageError(f"--{option}: {self[option]!r} is no number")
            fields[option] = None if self[option] is None else int(self[option])
        flags: dict[str, Any] = {option: True for option in ("persistent", "carrier") if self[option]}
        flags.update({option: False for option in ("persistent", "carrier") if self[f"no-{option}"]})
        if self["hardened"]:
            flags["hardened"] = True
        if not any(fields.values()) and not flags and not self["down"]:
            return None
        # Whoever only has it set up some other way need not have it set up here.
        up = True if fields["addresses"] or fields["routes"] or fields["neighbours"] else None
        try:
            return InterfaceSettings(**fields, **flags, up=False if self["down"] else up)
        except ValueError as e:
            raise UsageError(str(e)) from e


def checkPrometheus(endpoint: str) -> None:
    """
    @raise UsageError: metrics cannot be served there.
    """
    if find_spec("prometheus_client") is None:
        raise UsageError("--prometheus: that takes prometheus_client: pip install 'txtuntap[prometheus]'")
    try:
        # Of the reactor, nothing is wanted before it listens.
        serverFromString(None, endpoint)
    except Exception as e:
        example = "tcp:9100:interface=127.0.0.1"
        raise UsageError(f"--prometheus: {endpoint!r} is no server endpoint, such as {example}: {e}") from e


def _descriptor(text: str) -> int:
    from txtuntap.device.helper.descriptors import fromSystemd

    try:
        return int(text) if text.isascii() and text.isdigit() else fromSystemd(text)
    except ValueError as e:
        raise UsageError(f"--descriptor: {e}") from e
