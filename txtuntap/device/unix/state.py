"""
The state of interfaces on macOS and the BSDs. Not run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno

from zope.interface import moduleProvides

from txtuntap.device import interfaceName, printable
from txtuntap.device.changes import called
from txtuntap.device.conversation import ask, askNow
from txtuntap.device.interfaces import IReading
from txtuntap.device.pieces import Pieces
from txtuntap.device.settings import InterfaceState
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.layout import FLAGS

__all__ = ["FLAGS", "ask", "askNow", "reading", "readingAll"]

moduleProvides(IReading)


def reading(name: str) -> Pieces[InterfaceState]:
    """
    Make the conversation for L{readInterface<txtuntap.device.state.readInterface>}.
    """
    interfaceName(name)
    for state in (yield from readingAll()):
        if state.name == name:
            return state
    raise OSError(errno.ENODEV, f"cannot find {printable(name)}: there is no such interface")


def readingAll() -> Pieces[list[InterfaceState]]:
    """
    Make the conversation for L{readInterfaces<txtuntap.device.state.readInterfaces>}.
    """
    states = called(Kernel().states, "read the interfaces")
    yield None
    return states
