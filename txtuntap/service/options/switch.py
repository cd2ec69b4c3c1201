"""
The options of the command C{twistd tuntap switch}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
from twisted.python.usage import CompleteNetInterfaces, Completer, Completions, UsageError

from txtuntap.device import TAP, interfaceName
from txtuntap.device.settings import InterfaceSettings
from txtuntap.middleware import Netem
from txtuntap.network.clock import SimulationClock
from txtuntap.service.options.help import about
from txtuntap.service.options.peer import PEER_OPTIONS, PeerOptions, PeerSettings
from txtuntap.service.options.service import PageSettings, ServiceOptions, naming
from txtuntap.switch.port import SwitchPort
from txtuntap.switch.switch import AGEING_TIME, Switch
from txtuntap.tunnel.framing import MAX_PACKET

_EXAMPLE = "tap0,vlan=10,isolated"


@attrs.frozen(kw_only=True)
class SwitchPortSettings:
    """
    The settings of a port of a switch, which are arguments of L{Switch.addPort}.
    """

    vlan: int | None = None
    trunk: Sequence[int] | None = None
    isolated: bool = False
    stations: Sequence[str] | None = None
    broadcasts: float | None = None
    multicasts: float | None = None
    unknowns: float | None = None
    router: bool | None = None

    @property
    def untaggedVLAN(self) -> int | None:
        """
        The VLAN of untagged frames; C{None}: the port accepts and sends no untagged frames.
        """
        return 1 if self.vlan is None and self.trunk is None else self.vlan

    def addTo(self, switch: Switch, name: str | None) -> SwitchPort:
        """
        Add a port with these settings to a switch.

        @param name: the name of the port; C{None}: the switch gives it a number.

        @raise ValueError: the settings are invalid: see L{Switch.addPort}.
        """
        return switch.addPort(
            name,
            vlan=self.vlan,
            trunk=self.trunk,
            isolated=self.isolated,
            stations=self.stations,
            broadcasts=self.broadcasts,
            multicasts=self.multicasts,
            unknowns=self.unknowns,
            router=self.router,
        )


@attrs.frozen(kw_only=True)
class SwitchTap:
    """
    A tap interface at a switch.

    @ivar interface: the name of the interface.
    @ivar namespace: the network namespace of the interface; C{None}: that of this process.
    @ivar kernelEnd: the configuration of the kernel's end; C{None}: it is not configured.
    @ivar impairment: the faults of packets in both directions, which the live page can change; C{None}: none, and none
        can be given.
    @ivar port: the settings of its port of the switch.
    """

    interface: str
    namespace: str | None = None
    kernelEnd: InterfaceSettings | None = None
    impairment: Netem | None = None
    port: SwitchPortSettings = SwitchPortSettings()

    @property
    def name(self) -> str | None:
        """
        The name of the port; C{None} if the kernel chooses the name of the interface, so that several taps can have the
        same pattern.
        """
        return None if "%" in self.interface else qualifiedName(self.interface, self.namespace)

    @classmethod
    def of(cls, text: str) -> SwitchTap:
        """
        Parse the value of the option C{--tap}.

        @raise ValueError: the name of the interface or a setting is invalid.
        """
        interface, *words = text.split(",")
        interfaceName(interface)
        given = _parseSettings(words, _FLAGS, {**_VALUES, **_KERNEL})
        namespace, impairment = given.pop("netns", None), given.pop(_IMPAIRMENT, None)
        addresses, mtu = given.pop("address", ()), given.pop("mtu", None)
        isUp = True if given.pop("up", False) or addresses else None
        kernelEnd = None if mtu is None and not isUp else InterfaceSettings(addresses=addresses, mtu=mtu, up=isUp)
        return cls(
            interface=interface,
            namespace=namespace,
            kernelEnd=kernelEnd,
            impairment=impairment,
            port=SwitchPortSettings(**given),
        )


@attrs.frozen(kw_only=True)
class SwitchTunnel:
    """
    A tunnel at a switch.

    @ivar peer: the settings of the peer and of the carrier.
    @ivar mtu: the most octets of an IP packet in a frame.
    @ivar impairment: as of a L{SwitchTap}.
    @ivar port: the settings of its port of the switch.
    """

    peer: PeerSettings = attrs.field(eq=False)
    mtu: int = 1500
    impairment: Netem | None = None
    port: SwitchPortSettings = SwitchPortSettings()

    @property
    def name(self) -> str:
        """
        The name of the port, which is the endpoint where the tunnel listens, or to which it connects.
        """
        return self.peer.endpoint

    @classmethod
    def of(cls, text: str) -> SwitchTunnel:
        """
        Parse the value of the option C{--tunnel}.

        @raise ValueError: a setting of the port is invalid.
        @raise UsageError: a setting of the peer is invalid.
        """
        peer: list[str] = []
        port: list[str] = []
        for word in text.split(","):
            (peer if word.partition("=")[0] in PEER_OPTIONS else port).append(word)
        given = _parseSettings(port, _FLAGS[:1], {**_VALUES, "mtu": _number}, PEER_OPTIONS)
        options = PeerOptions()
        options.parseOptions([f"--{word}" for word in peer])  # type: ignore[no-untyped-call]
        settings = options.peerSettings(TAP)
        mtu, impairment = given.pop("mtu", 1500), given.pop(_IMPAIRMENT, None)
        if not 68 <= mtu <= _MOST_MTU:
            raise ValueError(f"an MTU is a number from 68 to {_MOST_MTU}, not {mtu}")
        return cls(peer=settings, mtu=mtu, impairment=impairment, port=SwitchPortSettings(**given))


@attrs.frozen(kw_only=True)
class SwitchServiceSettings:
    """
    The settings of a L{SwitchService<txtuntap.service.switch.SwitchService>}.

    @ivar taps: the tap interfaces.
    @ivar tunnels: the tunnels.
    @ivar ageingTime: the seconds without a frame from a station after which the station is forgotten.
    @ivar offload: whether packets are read and written as superpackets: see L{TuntapPort<txtuntap.tuntap.TuntapPort>}.
    @ivar control: whether each interface has a control socket: see
        L{InterfaceServiceSettings<txtuntap.service.options.interface.InterfaceServiceSettings>}.
    @ivar prometheus: the endpoint at which metrics are served; C{None}: metrics are not served.
    @ivar page: the settings of the live page; C{None}: there is none.
    """

    taps: Sequence[SwitchTap] = ()
    tunnels: Sequence[SwitchTunnel] = ()
    ageingTime: float = AGEING_TIME
    offload: bool | None = None
    control: bool = True
    prometheus: str | None = None
    page: PageSettings | None = None


def _parseSettings(
    words: Sequence[str], flags: Sequence[str], values: Mapping[str, Callable[[str], Any]], others: Sequence[str] = ()
) -> dict[str, Any]:
    """
    Parse settings such as C{"isolated"} and C{"vlan=10"}.

    @param flags: the names of settings without a value.
    @param values: the names of settings with a value, and the parser of each value.
    @param others: further names, which only the error text lists.

    @raise ValueError: a setting is unknown, repeated, or has an invalid value.
    """
    given: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key in flags and not equals:
            value = "yes"
        elif key not in values or not (value or (equals and key == _IMPAIRMENT)):
            keys = ", ".join([*flags, *(f"{each}=..." for each in values), *others])
            raise ValueError(f"{word!r} is none of {keys}")
        if key in given:
            raise ValueError(f"{key} is given twice: join several values with +")
        given[key] = True if key in flags else values[key](value)
    return given


def qualifiedName(interface: str, namespace: str | None) -> str:
    """
    Return the name of an interface together with its network namespace, because another namespace may have an interface
    of the same name.
    """
    return interface if namespace is None else f"{interface}@{namespace}"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number")
    return int(text)


def _vlans(text: str) -> list[int]:
    """
    Parse VLAN numbers and ranges, such as C{"10+20"} or C{"10+100-199"}.
    """
    numbers: list[int] = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        if dash and _number(last) < _number(first):
            raise ValueError(f"{part} ends before it begins: give {last}-{first}")
        numbers += range(_number(first), min(_number(last), 4095) + 1) if dash else [_number(first)]
    return numbers


def _yesOrNo(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


#: The largest MTU: the longest packet less an Ethernet header with two VLAN tags.
_MOST_MTU = MAX_PACKET - 22

#: The names of settings without a value; and the port's settings with a value, with the parser of each.
_FLAGS = ("isolated", "up")
#: The name of the setting whose value may be empty: there are no faults at first.
_IMPAIRMENT = "impairment"
_VALUES: dict[str, Callable[[str], Any]] = {
    "vlan": _number,
    "trunk": _vlans,
    "stations": lambda text: text.split("+"),
    "broadcasts": _number,
    "multicasts": _number,
    "unknowns": _number,
    "router": _yesOrNo,
    _IMPAIRMENT: Netem.of,
}
#: The settings of the kernel's end of an interface, with the parser of each.
_KERNEL: dict[str, Callable[[str], Any]] = {
    "netns": str,
    "address": lambda text: text.split("+"),
    "mtu": _number,
}


class SwitchOptions(ServiceOptions):
    """
    The options of the command C{twistd tuntap switch}.

    @ivar settings: once parsed, the settings of the service.
    """

    settings: SwitchServiceSettings

    synopsis = "--tap NAME[,OPTION...] [options]"
    longdesc = (
        "Be a learning switch between TAP devices and tunnels. The settings of a device follow its name, separated by"
        " commas: vlan=10 (the VLAN of untagged frames; 1 by default), trunk=10+20+100-199 (the VLANs of tagged"
        " frames), isolated (exchanges no frames with other isolated ports), stations=02:00:00:00:00:01 (the link"
        " addresses that may send here, and at no other port; join several with +), router=yes (whether routers and"
        " DHCP servers may be here; by default yes, but no with stations=...), broadcasts=1000, multicasts=1000,"
        " unknowns=1000 (the most frames a second to all stations, to groups, and to unknown stations),"
        " impairment=NETEM (faults of packets in both directions, such as 'delay 50ms loss 1%', which the page changes"
        " with --page-control), netns=NAME (the network namespace of the device), up, address=10.0.0.1/24,"
        " mtu=1500 (the configuration of the kernel's end)."
        " A tunnel has the settings before netns, mtu=1500, and the options of 'tuntap tunnel' about the peer:"
        " listen=ENDPOINT or connect=ENDPOINT, "
        f"{', '.join(name for name in PEER_OPTIONS if name not in ('listen', 'connect'))}."
    )
    optGroups: ClassVar = {"Switch": ["tap", "tunnel", "ageing"]}
    compData: ClassVar = Completions(
        multiUse=["tap", "tunnel"],
        optActions={
            "tap": CompleteNetInterfaces(),
            "tunnel": Completer("tunnel"),
            "ageing": Completer("seconds"),
        },
    )
    optParameters: ClassVar = [
        ["ageing", None, f"{AGEING_TIME:g}", "Forget a station after this many seconds without a frame from it."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._taps: list[SwitchTap] = []
        self._tunnels: list[SwitchTunnel] = []

    @about("NAME[,OPTION...]: a tap interface, such as tap0,vlan=10,isolated. May be repeated.")
    def opt_tap(self, text: str) -> None:
        with naming(f"--tap {text}"):
            self._taps.append(SwitchTap.of(text))

    @about(
        """
        OPTION[,OPTION...]: a tunnel, such as listen=tcp:4000,certificate=me.pem,trust=peer.pem,vlan=10. May be
        repeated.
        """
    )
    def opt_tunnel(self, text: str) -> None:
        with naming(f"--tunnel {text}"):
            self._tunnels.append(SwitchTunnel.of(text))

    def postOptions(self) -> None:
        """
        Check the options together, and make settings from them.
        """
        if not self._taps and not self._tunnels:
            raise UsageError(f"give each interface with --tap, such as --tap {_EXAMPLE}, and tunnels with --tunnel")
        ageingTime = self._ageingTime()
        trial = Switch(SimulationClock())
        for tap in self._taps:
            with naming(f"--tap {tap.interface}"):
                tap.port.addTo(trial, tap.name)
        for tunnel in self._tunnels:
            with naming(f"--tunnel {tunnel.name}"):
                tunnel.port.addTo(trial, tunnel.name)
        self._checkAddresses()
        self.checkObservation()
        self.settings = SwitchServiceSettings(
            taps=tuple(self._taps),
            tunnels=tuple(self._tunnels),
            ageingTime=ageingTime,
            offload=self.offload,
            control=self.control,
            prometheus=self.prometheus,
            page=self.page,
        )

    def _ageingTime(self) -> float:
        text = self["ageing"]
        try:
            seconds = float(text)
            if not seconds > 0:
                raise ValueError("more than 0")
        except ValueError as e:
            raise UsageError(f"--ageing is a number of seconds, more than 0, not {text!r}") from e
        return seconds

    def _checkAddresses(self) -> None:
        """
        Check that no two interfaces of one VLAN have the same address.
        """
        found: dict[tuple[int, str], SwitchTap] = {}
        for tap in self._taps:
            vlan = tap.port.untaggedVLAN
            if tap.kernelEnd is None or vlan is None:
                continue
            for address in tap.kernelEnd.addresses:
                other = found.setdefault((vlan, str(address.interface.ip)), tap)
                if other is not tap:
                    names = [each.name or each.interface for each in (tap, other)]
                    raise UsageError(f"--tap {names[0]}: {address} is the address of {names[1]}: give each its own")
