"""
The options of C{twistd tuntap switch}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import cleandoc
from typing import Any, ClassVar

import attrs
from twisted.python import usage
from twisted.python.usage import UsageError

from txtuntap.clock import SimulationClock
from txtuntap.device import interfaceName
from txtuntap.device.settings import InterfaceSettings
from txtuntap.switch import AGEING_TIME, Switch

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
        given: dict[str, Any] = {}
        for word in words:
            key, equals, value = word.partition("=")
            if key in _FLAGS and not equals:
                value = "yes"
            elif key not in _VALUES or not value:
                keys = ", ".join([*_FLAGS, *(f"{each}=..." for each in _VALUES)])
                raise ValueError(f"{word!r} is none of {keys}")
            if key in given:
                raise ValueError(f"{key} is given twice: several have a + between them")
            given[key] = True if key in _FLAGS else _VALUES[key](value)
        namespace = given.pop("netns", None)
        fields = {"addresses": given.pop("address", None), "mtu": given.pop("mtu", None)}
        isUp = given.pop("up", False) or bool(fields["addresses"])
        fields = {name: value for name, value in fields.items() if value is not None}
        settings = InterfaceSettings(**fields, up=isUp or None) if fields or isUp else None
        return cls(interface, namespace, settings, given)


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
        found += range(_number(first), min(_number(last), 4095) + 1) if dash else [_number(first)]
    return found


#: What goes with an interface: by itself; and with a value, which is read so.
_FLAGS = ("isolated", "up")
_VALUES: dict[str, Callable[[str], Any]] = {
    "vlan": _number,
    "trunk": _vlans,
    "stations": lambda text: text.split("+"),
    "broadcasts": _number,
    "multicasts": _number,
    "unknowns": _number,
    "netns": str,
    "address": lambda text: text.split("+"),
    "mtu": _number,
}


class SwitchOptions(usage.Options):
    """
    Options of C{twistd tuntap switch}.
    """

    synopsis = "[options]"
    longdesc = (
        "Be a learning switch between TAP devices. Behind the name of each, with commas: vlan=10 (the VLAN of frames"
        " without a tag; 1 by default), trunk=10+20+100-199 (the VLANs that frames have a tag of), isolated (speaks to"
        " no other port that is), stations=02:00:00:00:00:01 (who may send there, and nowhere else; several with +),"
        " broadcasts=1000, multicasts=1000, unknowns=1000 (frames a second that are let through: to all, to groups, to"
        " whom nobody knows), netns=NAME (the network namespace it is in), up, address=10.0.0.1/24, mtu=1500 (what the"
        " kernel's end is to be)."
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

    def opt_tap(self, text: str) -> None:
        """
        NAME[,OPTION...]: a tap interface, such as tap0,vlan=10,isolated. Once for each.
        """
        try:
            self["taps"].append(SwitchTap.of(text))
        except ValueError as e:
            raise UsageError(f"--tap {text}: {e}") from e

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
        if not self["taps"]:
            raise UsageError(f"give each interface with --tap, such as --tap {_EXAMPLE}")
        try:
            self["ageing"] = float(self["ageing"])
            if not self["ageing"] > 0:
                raise ValueError("more than 0")
        except ValueError as e:
            raise UsageError(f"--ageing is a number of seconds, more than 0, not {self['ageing']!r}") from e
        tried = Switch(SimulationClock())
        for tap in self["taps"]:
            try:
                tried.addPort(tap.name, **tap.options)
            except ValueError as e:
                raise UsageError(f"--tap {tap.interface}: {e}") from e
        if self["prometheus"] is not None:
            # That module has this one's options among its own.
            from txtuntap.service.interfaceoptions import checkPrometheus

            checkPrometheus(self["prometheus"])


# Twisted shows it as it is, with the white space that it is indented by.
SwitchOptions.opt_tap.__doc__ = cleandoc(SwitchOptions.opt_tap.__doc__ or "")
