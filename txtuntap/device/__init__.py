"""
TUN and TAP devices, one folder per platform; and the interfaces' settings.

A device is an L{IDevice<txtuntap.interfaces.IDevice>}: open, receive, send, C{fileno}, close; with or without a
reactor.
"""

import errno
import os

#: The C{errno} of a device whose interface is gone ("file descriptor in bad state"); Linux alone has a name for it.
EBADFD = getattr(errno, "EBADFD", 77)

#: A device that carries IP packets: C{IFF_TUN}.
TUN = 0x0001

#: A device that carries Ethernet frames: C{IFF_TAP}.
TAP = 0x0002

#: The most octets that a packet has, whatever the MTU of its interface is: that is 65535 at most, and before it may
#: stand an Ethernet header with two tags.
LONGEST_PACKET = 65535 + 14 + 8

#: C{IFNAMSIZ} less the closing zero.
MAX_NAME = 15


def interfaceName(name: str | bytes) -> bytes:
    """
    Check the name of an interface as the kernel does (C{dev_valid_name}), which would cut a long one without a word.

    @param name: at most 15 bytes; C{%d} in it becomes the first free number; empty, the kernel chooses.

    @raise ValueError: it is not a name.
    """
    if not isinstance(name, (str, bytes)):
        raise ValueError(f"an interface name is str or bytes, not {name!r}")
    # Names are octets, and need not be UTF-8: those that are not are as Python has them (PEP 383).
    packed = os.fsencode(name) if isinstance(name, str) else name
    if len(packed) > MAX_NAME:
        raise ValueError(f"the interface name {name!r} has {len(packed)} bytes: {MAX_NAME} is the most")
    if packed in (b".", b"..") or any(byte in b"/: \t\n\r\v\f\0" for byte in packed):
        raise ValueError(f"the interface name {name!r} may not hold '/', ':' or blanks, nor be '.' or '..'")
    if packed.count(b"%") > 1 or (b"%" in packed and b"%d" not in packed):
        raise ValueError(f"the interface name {name!r} may hold '%d' once, and '%' nowhere else")
    return packed


def printable(name: str) -> str:
    """
    The name of an interface for people to read, and for what takes nothing but text (JSON): octets that are no text,
    and characters that a terminal would take for a command, as C{\\xff}. The kernel takes all of them.
    """
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
