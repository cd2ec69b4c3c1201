"""
TUN and TAP devices, with one folder for each platform, and the settings of their interfaces.

A device provides L{IDevice<txtuntap.interfaces.IDevice>}: C{open}, C{receive}, C{send}, C{fileno} and C{close}. It can
be used with a reactor or without one.
"""

import errno
import os
import socket

from txtuntap.device.platform import platformName

#: The C{errno} of a device whose interface was deleted ("file descriptor in bad state"). Only Linux has a name for it.
EBADFD = getattr(errno, "EBADFD", 77)

#: A device that carries IP packets: C{IFF_TUN}.
TUN = 0x0001

#: A device that carries Ethernet frames: C{IFF_TAP}.
TAP = 0x0002

#: The largest number of octets in a packet on any interface: an MTU is 65535 at most, and an Ethernet header with two
#: VLAN tags may precede the payload.
LONGEST_PACKET = 65535 + 14 + 8

#: The largest number of octets in an interface name: C{IFNAMSIZ} without the terminating zero octet.
MAX_NAME = 15

#: The largest number of characters in the name of a Wintun adapter on Windows (C{MAX_ADAPTER_NAME}), and the characters
#: that Windows allows in no name.
MAX_WINDOWS_NAME, NOT_ON_WINDOWS = 127, frozenset('/\\:*?"<>|')


def interfaceName(name: str | bytes) -> bytes:
    """
    Check the name of an interface by the kernel's own rules (C{dev_valid_name}). The kernel cuts a longer name without
    an error, so the length is checked here. On Windows, names are longer, and may hold blanks.

    @param name: the name, at most 15 octets. The kernel replaces C{%d} in it by the first free number. If C{name} is
        empty, the kernel chooses one.

    @return: the name as octets.

    @raise ValueError: C{name} is not a valid name.
    """
    if not isinstance(name, (str, bytes)):
        raise ValueError(f"an interface name must be str or bytes, not {name!r}")
    # A name is a string of octets that need not be UTF-8. Text holds the other octets as surrogate escapes (PEP 383).
    packed = os.fsencode(name) if isinstance(name, str) else name
    if platformName() == "win32":
        _checkWindowsName(os.fsdecode(packed))
    elif len(packed) > MAX_NAME:
        raise ValueError(f"the interface name {name!r} has {len(packed)} bytes: {MAX_NAME} is the most")
    elif packed in (b".", b"..") or any(byte in b"/: \t\n\r\v\f\0" for byte in packed):
        raise ValueError(f"the interface name {name!r} may not hold '/', ':' or blanks, nor be '.' or '..'")
    if packed.count(b"%") > 1 or (b"%" in packed and b"%d" not in packed):
        raise ValueError(f"the interface name {name!r} may hold '%d' once, and '%' nowhere else")
    return packed


def _checkWindowsName(name: str) -> None:
    """
    Check the name of an interface by the rules of Windows.
    """
    if len(name) > MAX_WINDOWS_NAME:
        raise ValueError(f"the interface name {name!r} has {len(name)} characters: {MAX_WINDOWS_NAME} is the most")
    if name != name.strip() or any(each in NOT_ON_WINDOWS or not each.isprintable() for each in name):
        wrong = " ".join(sorted(NOT_ON_WINDOWS))
        raise ValueError(f"the interface name {name!r} may hold none of {wrong}, nor begin or end with a blank")


def indexOf(name: str | bytes) -> int:
    """
    Find the index of an interface by its name.

    @return: the index; 0 if this network namespace has no interface of this name.
    """
    try:
        return socket.if_nametoindex(os.fsdecode(name))
    except OSError:
        return 0


def printable(name: str) -> str:
    """
    Convert the name of an interface to printable text, for log lines, terminals and JSON. Octets that are not UTF-8,
    and control characters, become escapes such as C{\\xff}. The kernel allows both in a name.
    """
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
