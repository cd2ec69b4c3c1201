"""
The state of interfaces on Windows. Run under Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import errno
import os

from zope.interface import moduleProvides

from txtuntap.device import interfaceName, printable
from txtuntap.device.changes import called
from txtuntap.device.conversation import ask, askNow
from txtuntap.device.interfaces import IReading
from txtuntap.device.pieces import Pieces
from txtuntap.device.settings import InterfaceState
from txtuntap.device.windows.network import LOOPBACK, RUNNING, UP, Network

__all__ = ["FLAGS", "ask", "askNow", "reading", "readingAll"]

moduleProvides(IReading)

#: The names of the flags that L{Network} derives from the state of an interface, in the words of C{ip link}.
FLAGS = {LOOPBACK: "LOOPBACK", UP: "UP", RUNNING: "RUNNING"}


def isName(name: str, of: str) -> bool:
    """
    Whether a name is that of an interface. Windows ignores the case of letters.
    """
    return name.casefold() == of.casefold()


def missing(name: str) -> OSError:
    """
    Make the error that there is no interface of this name.
    """
    return OSError(errno.ENODEV, f"cannot find {printable(name)}: there is no such interface")


def reading(name: str) -> Pieces[InterfaceState]:
    """
    Make the conversation for L{readInterface<txtuntap.device.state.readInterface>}.

    @raise ValueError: C{name} is not a valid interface name.
    """
    name = os.fsdecode(interfaceName(name))
    for state in (yield from readingAll()):
        if isName(name, state.name):
            return state
    raise missing(name)


def readingAll() -> Pieces[list[InterfaceState]]:
    """
    Make the conversation for L{readInterfaces<txtuntap.device.state.readInterfaces>}.
    """
    states = called(lambda: Network().states(), "read the interfaces")
    yield None
    return states
