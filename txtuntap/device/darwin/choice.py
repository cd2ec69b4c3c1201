"""
The choice of a device on macOS by the name of its interface. Not run on a real macOS yet.
"""

from __future__ import annotations

from typing import Any

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.darwin.feth import FethDevice
from txtuntap.device.darwin.tuntaposx import TuntaposxOpening
from txtuntap.device.darwin.utun import AdoptedUtun, UtunOpening
from txtuntap.device.unix.adopted import AdoptedOpening
from txtuntap.device.unix.device import UnixDevice
from txtuntap.device.unix.layout import DARWIN
from txtuntap.device.unix.opening import Opening, numberOf
from txtuntap.device.unix.system import RealSystem
from txtuntap.interfaces import IDevice

_DRIVERS = {TUN: ("utun", "tun"), TAP: ("feth", "tap")}


def makeDevice(name: str | bytes, mode: int, system: Any = None, descriptor: int | None = None) -> IDevice:
    """
    Make a device of macOS, which is not open yet.

    @param name: the interface's name. C{utun%d}, C{tun%d} and an empty name are the next free utun; C{utun3} is that
        utun. A tap has a pair of feth interfaces: C{feth%d} and an empty name are the next free one. C{tun0}, C{tap0}
        and C{tap%d} are devices of tuntaposx.
    @param mode: C{TUN} or C{TAP}.
    @param system: a replacement for the operating system's calls, for tests; C{None}: make the real calls.
    @param descriptor: a descriptor that was opened elsewhere: of a utun, whose own name replaces C{name}, or of
        C{/dev/tap0} and so on. C{None}: the device opens its own.

    @raise ValueError: C{name}, C{mode} or C{descriptor} is not valid, or a descriptor is given for a pair of feth.
    """
    driver, number = numberOf(name, mode, _DRIVERS, DARWIN.title)
    if driver == "feth":
        if descriptor is not None:
            if interfaceName(name):
                raise ValueError("a pair of feth interfaces has two descriptors: name tap0 for one of /dev/tap0")
            # A descriptor without a name is that of a node.
            driver = "tap"
        else:
            return FethDevice(name, system)
    system = RealSystem if system is None else system
    isUtun = driver == "utun" or (driver == "tun" and number is None)
    shown = f"{'utun' if isUtun else driver}{'%d' if number is None else number}"
    opening: Opening
    if descriptor is not None:
        known = "" if number is None else shown
        kind = AdoptedUtun if isUtun else AdoptedOpening
        opening = kind(descriptor, known, None, DARWIN, system)
    elif isUtun:
        opening = UtunOpening(number, system)
    else:
        opening = TuntaposxOpening(driver, number, system)
    return UnixDevice(shown, mode, opening, system)
