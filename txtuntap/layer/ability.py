"""
The abilities of a protocol: to take packets or C{twisted.pair}'s calls, to take superpackets, to let no exception out.
"""

from __future__ import annotations

from typing import Any

from txtuntap.interfaces import IEthernetProtocol, IPacketReceiver, IRawDatagramProtocol, IRawPacketProtocol
from txtuntap.mistakes import instead


def receiverOr(interface: Any, proto: Any) -> Any:
    """
    Check what is to be added: it has the C{interface} of the layer above, or none but L{IPacketReceiver}.

    @raise TypeError: it has not.
    """
    kinds = IEthernetProtocol, IRawPacketProtocol, IRawDatagramProtocol
    if IPacketReceiver.providedBy(proto) and not any(kind.providedBy(proto) for kind in kinds):
        return proto
    try:
        return interface(proto)
    except TypeError:
        above = ""
        if interface is IRawPacketProtocol and IRawDatagramProtocol.providedBy(proto):
            above = ": add it to an IPProtocol, and that here"
        raise TypeError(
            f"{proto!r} cannot be added: it is no {interface.__name__} and no IPacketReceiver{above or instead(proto)}"
        ) from None


def knowsPackets(proto: object) -> bool:
    """
    Whether packets reach C{proto} by C{packetReceived}. They do not where there is none, nor where C{datagramReceived}
    was overridden below it: people subclass C{IPProtocol} so, and expect to be called.
    """
    if _isItsOwn(proto, "packetReceived"):
        return True
    if _isItsOwn(proto, "datagramReceived"):
        return False
    for cls in type(proto).__mro__:
        if "packetReceived" in vars(cls):
            return True
        if "datagramReceived" in vars(cls):
            return False
    return False


def takesOffload(proto: object) -> bool:
    """
    Whether a protocol takes packets that are not finished: L{IPacketReceiver} says how it tells.
    """
    if not knowsPackets(proto) or _isItsOwn(proto, "packetReceived"):
        return False
    for cls in type(proto).__mro__:
        if "takesOffload" in vars(cls):
            return bool(vars(cls)["takesOffload"])
        if "packetReceived" in vars(cls):
            return False
    return False


def handlesFailures(proto: object) -> bool:
    """
    Whether a protocol's C{packetReceived} lets no exception out, so that a layer can call it directly.

    A class says so with C{handlesFailures = True}. The attribute counts for that class alone: a subclass may raise.
    """
    return bool(vars(type(proto)).get("handlesFailures")) and not _isItsOwn(proto, "packetReceived")


def _isItsOwn(proto: object, name: str) -> bool:
    """
    Whether a method is that of one instance, and not of its class.

    C{__dict__} would tell. But once that of an object has been looked at, CPython (3.11 and on) keeps it, and finds the
    object's attributes more slowly: for a layer, that is a tenth of all it does.
    """
    found = getattr(proto, name, None)
    inherited = getattr(type(proto), name, None)
    if inherited is None and hasattr(type(proto), "__getattr__"):
        # A wrapper, which has it from what it goes around.
        return False
    return found is not None and getattr(found, "__func__", found) is not inherited
