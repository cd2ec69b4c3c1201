"""
The options of C{twistd tuntap switch}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
from twisted.python.usage import UsageError

from txtuntap.device import TAP, interfaceName
from txtuntap.device.settings import InterfaceSettings
from txtuntap.network.clock import SimulationClock
from txtuntap.service.options.interface import PlainOptions, about, checkPrometheus
from txtuntap.service.options.tunnel import TunnelOptions
from txtuntap.switch.switch import AGEING_TIME, Switch
from txtuntap.tunnel.framing import MAX_PACKET

_EXAMPLE = "tap0,vlan=10,isolated"


@attrs.frozen
class SwitchTap:
    """
    A tap interface at a switch.

    @ivar interface: its name.
    @ivar namespace: the network namespace it is in; L{None}: this one.
    @ivar settings: what the kernel's end is to be; L{None}: it is left as it is.
    @ivar options: those of the port, as of L{Switch.addPort}.
    """

    interface: str
    namespace: str | None
    settings: InterfaceSettings | None
    options: Mapping[str, Any]

    @property
    def name(self) -> str | None:
        """
        What its port is called; L{None}: there may be several, which the kernel gives their names.
        """
        return None if "%" in self.interface else named(self.interface, self.namespace)

    @classmethod
    def of(cls, text: str) -> SwitchTap:
        """
        What the option says.

        @raise ValueError: it says what cannot be.
        """
        interface, *words = text.split(",")
        interfaceName(interface)
        given = _given(words, _FLAGS, {**_VALUES, **_KERNEL})
        namespace = given.pop("netns", None)
        fields = {"addresses": given.pop("address", None), "mtu": given.pop("mtu", None)}
        isUp = given.pop("up", False) or bool(fields["addresses"])
        fields = {name: value for name, value in fields.items() if value is not None}
        settings = InterfaceSettings(**fields, up=isUp or None) if fields or isUp else None
        return cls(interface, namespace, settings, given)


@attrs.frozen
class SwitchTunnel:
    """
    A tunnel at a switch.

    @ivar name: what its port is called: by where it listens, or connects.
    @ivar peer: options about its peer: those of L{TunnelOptions}.
    @ivar mtu: the most octets that IP may put into one packet.
    @ivar options: those of the port, as of L{Switch.addPort}.
    """

    name: str
    peer: Mapping[str, Any] = attrs.field(eq=False)
    mtu: int
    options: Mapping[str, Any]

    @classmethod
    def of(cls, text: str) -> SwitchTunnel:
        """
        What the option says.

        @raise ValueError: it says what cannot be.
        @raise UsageError: it says so about the peer.
        """
        peer: list[str] = []
        port: list[str] = []
        for word in text.split(","):
            (peer if word.partition("=")[0] in _PEER else port).append(word)
        given = _given(port, _FLAGS[:1], {**_VALUES, "mtu": _number}, _PEER)
        options = _PeerOptions()
        options.parseOptions([f"--{word}" for word in peer])  # type: ignore[no-untyped-call]
        mtu = given.pop("mtu", 1500)
        if not 68 <= mtu <= _MOST_MTU:
            raise ValueError(f"an MTU is a number from 68 to {_MOST_MTU}, not {mtu}")
        return cls(options["endpoint"], options, mtu, given)


class _PeerOptions(TunnelOptions):
    """
    Options of a tunnel on no interface.
    """

    def postOptions(self) -> None:
        """
        Check what only the options together tell.
        """
        self.checkPeer(TAP)


def _given(
    words: Sequence[str], flags: Sequence[str], values: Mapping[str, Callable[[str], Any]], others: Sequence[str] = ()
) -> dict[str, Any]:
    """
    What words such as C{"isolated"} and C{"vlan=10"} say.

    @param others: what else may be said, elsewhere.

    @raise ValueError: one is none of these.
    """
    given: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key in flags and not equals:
            value = "yes"
        elif key not in values or not value:
            keys = ", ".join([*flags, *(f"{each}=..." for each in values), *others])
            raise ValueError(f"{word!r} is none of {keys}")
        if key in given:
            raise ValueError(f"{key} is given twice: several have a + between them")
        given[key] = True if key in flags else values[key](value)
    return given


def named(interface: str, namespace: str | None) -> str:
    """
    An interface, as there may be one of the same name in another network namespace.
    """
    return interface if namespace is None else f"{interface}@{namespace}"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number")
    return int(text)


def _vlans(text: str) -> list[int]:
    """
    Such as C{"10+20"}, and C{"10+100-199"}.
    """
    found: list[int] = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        if dash and _number(last) < _number(first):
            raise ValueError(f"{part} ends before it begins: give {last}-{first}")
        found += range(_number(first), min(_number(last), 4095) + 1) if dash else [_number(first)]
    return found


def _yesOrNo(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


#: The most that is carried, behind a header.
_MOST_MTU = MAX_PACKET - 22

#: What goes with a port: by itself; and with a value, which is read so.
_FLAGS = ("isolated", "up")
_VALUES: dict[str, Callable[[str], Any]] = {
    "vlan": _number,
    "trunk": _vlans,
    "stations": lambda text: text.split("+"),
    "broadcasts": _number,
    "multicasts": _number,
    "unknowns": _number,
    "router": _yesOrNo,
}
#: What the kernel's end of an interface is to be.
_KERNEL: dict[str, Callable[[str], Any]] = {
    "netns": str,
    "address": lambda text: text.split("+"),
    "mtu": _number,
}
#: What is said of a tunnel's peer, as with C{twistd tuntap tunnel}.
_PEER = (
    *("listen", "connect", "framing", "certificate", "key", "trust", "pin", "peer-name", "allow", "allow-lladdr"),
    *("allow-router", "insecure"),
)


class SwitchOptions(PlainOptions):
    """
    Options of C{twistd tuntap switch}.
    """

    synopsis = "[options]"
    longdesc = (
        "Be a learning switch between TAP devices and tunnels. Behind the name of each device, with commas: vlan=10"
        " (the VLAN of frames without a tag; 1 by default), trunk=10+20+100-199 (the VLANs that frames have a tag of),"
        " isolated (speaks to no other port that is), stations=02:00:00:00:00:01 (who may send there, and nowhere else;"
        " several with +), router=yes (routers and DHCP servers may be there; by default, where there is no stations"
        "=...), broadcasts=1000, multicasts=1000, unknowns=1000 (frames a second that are let through: to"
        " all, to groups, to whom nobody knows), netns=NAME (the network namespace it is in), up, address=10.0.0.1/24,"
        " mtu=1500 (what the kernel's end is to be). With a tunnel, likewise: all of these up to netns; mtu=1500; and"
        " what 'tuntap tunnel' has about the peer: listen=ENDPOINT or connect=ENDPOINT, framing, certificate, key,"
        " trust, pin, peer-name, allow, allow-lladdr, allow-router, insecure."
    )
    optFlags: ClassVar = [
        ["no-offload", None, "Have every packet come and go by itself, with its checksums, as captures show best."],
        ["no-control", None, "Have no control sockets, by which 'txtuntap capture' hears what passes."],
    ]
    optParameters: ClassVar = [
        ["ageing", None, f"{AGEING_TIME:g}", "Seconds after which a station that is not heard is forgotten."],
        ["prometheus", None, None, "Serve /metrics there: an endpoint such as tcp:9100:interface=127.0.0.1."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["taps"] = []
        self["tunnels"] = []

    @about(
        """
        NAME[,OPTION...]: a tap interface, such as tap0,vlan=10,isolated. Once for each.
        """
    )
    def opt_tap(self, text: str) -> None:
        try:
            self["taps"].append(SwitchTap.of(text))
        except ValueError as e:
            raise UsageError(f"--tap {text}: {e}") from e

    @about(
        """
        OPTION[,OPTION...]: a tunnel, such as listen=tcp:4000,certificate=me.pem,trust=peer.pem,vlan=10. Once for each.
        """
    )
    def opt_tunnel(self, text: str) -> None:
        try:
            self["tunnels"].append(SwitchTunnel.of(text))
        except (ValueError, UsageError) as e:
            raise UsageError(f"--tunnel {text}: {e}") from e

    def postOptions(self) -> None:
        """
        Check what only the options together tell.
        """
        if not self["taps"] and not self["tunnels"]:
            raise UsageError(f"give each interface with --tap, such as --tap {_EXAMPLE}, and tunnels with --tunnel")
        try:
            self["ageing"] = float(self["ageing"])
            if not self["ageing"] > 0:
                raise ValueError("more than 0")
        except ValueError as e:
            raise UsageError(f"--ageing is a number of seconds, more than 0, not {self['ageing']!r}") from e
        tried = Switch(SimulationClock())
        ports = [(f"--tap {each.interface}", each.name, each.options) for each in self["taps"]]
        ports += [(f"--tunnel {each.name}", each.name, each.options) for each in self["tunnels"]]
        for option, name, own in ports:
            try:
                tried.addPort(name, **own)
            except ValueError as e:
                raise UsageError(f"{option}: {e}") from e
        self._checkAddresses()
        if self["prometheus"] is not None:
            checkPrometheus(self["prometheus"])

    def _checkAddresses(self) -> None:
        """
        Check that no two interfaces of one VLAN have the same address.
        """
        found: dict[tuple[int, str], SwitchTap] = {}
        for tap in self["taps"]:
            vlan = tap.options.get("vlan", None if "trunk" in tap.options else 1)
            for address in () if tap.settings is None or vlan is None else tap.settings.addresses:
                other = found.setdefault((vlan, str(address.interface.ip)), tap)
                if other is not tap:
                    names = [each.name or each.interface for each in (tap, other)]
                    raise UsageError(f"--tap {names[0]}: {address} is the address of {names[1]}: give each its own")
