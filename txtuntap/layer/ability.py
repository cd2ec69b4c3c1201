"""
The abilities of a protocol: which call delivers packets to it, whether it takes superpackets, and whether it may raise.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol

from txtuntap.interfaces import IEthernetProtocol, IRawDatagramProtocol, IRawPacketProtocol
from txtuntap.mistakes import instead


def receiverOr(interface: Any, proto: Any) -> Any:
    """
    Check a protocol that is to be added to a layer. The protocol has to provide C{interface}, or be adaptable to it. A
    protocol that has C{packetReceived} is also accepted, unless it provides another interface of C{twisted.pair}.

    @param interface: the interface of C{twisted.pair} for protocols on this layer.

    @return: the protocol, adapted to C{interface} if necessary.

    @raise TypeError: the layer does not accept C{proto}.
    """
    kinds = IEthernetProtocol, IRawPacketProtocol, IRawDatagramProtocol
    if hasPacketReceived(proto) and not any(kind.providedBy(proto) for kind in kinds):
        return proto
    try:
        return interface(proto)
    except TypeError:
        above = ""
        if interface is IRawPacketProtocol and IRawDatagramProtocol.providedBy(proto):
            above = ": add it to an IPProtocol, and that here"
        raise TypeError(
            f"{proto!r} cannot be added: it is no {interface.__name__} and has no packetReceived"
            f"{above or instead(proto)}"
        ) from None


def hasPacketReceived(proto: object) -> bool:
    """
    Whether an object that need not provide an interface has C{packetReceived}, and is not given by mistake. A class, or
    a C{DatagramProtocol}, which belongs on a UDP port, is given by mistake.
    """
    return knowsPackets(proto) and not isinstance(proto, (type, DatagramProtocol))


def knowsPackets(proto: object) -> bool:
    """
    Whether packets are delivered to C{proto} by C{packetReceived}. If not, they are delivered by C{datagramReceived}.

    A protocol without C{packetReceived} has only C{datagramReceived}. A subclass of a layer that overrides only
    C{datagramReceived} expects that its own method is called, as in C{twisted.pair}.
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
    Whether a protocol takes unfinished packets, by its attribute C{takesOffload}: see
    L{IPacketReceiver<txtuntap.interfaces.IPacketReceiver>}.
    """
    if not knowsPackets(proto) or _isItsOwn(proto, "packetReceived"):
        return False
    for cls in type(proto).__mro__:
        if "takesOffload" in vars(cls):
            return bool(vars(cls)["takesOffload"])
        if "packetReceived" in vars(cls):
            return False
    return False


def sendsOffload(proto: object) -> bool:
    """
    Whether a protocol sends unfinished packets but takes none from a device, by its attribute C{sendsOffload}: see
    L{IPacketReceiver<txtuntap.interfaces.IPacketReceiver>}. Middleware has the attribute of the protocol that it wraps.
    """
    return bool(getattr(proto, "sendsOffload", False))


def handlesFailures(proto: object) -> bool:
    """
    Whether a protocol's C{packetReceived} raises no exception, so that a layer can call it directly.

    A class promises this with C{handlesFailures = True}. The attribute is not inherited, because a subclass may raise.
    """
    return bool(vars(type(proto)).get("handlesFailures")) and not _isItsOwn(proto, "packetReceived")


def _isItsOwn(proto: object, name: str) -> bool:
    """
    Whether a method has been set on one instance and is not the method of its class.

    The function does not look into C{__dict__}. CPython (since 3.11) creates the C{__dict__} of an object at the first
    access, and finds the object's attributes more slowly from then on. This costs a layer a tenth of its speed.
    """
    found = getattr(proto, name, None)
    inherited = getattr(type(proto), name, None)
    if inherited is None and hasattr(type(proto), "__getattr__"):
        # The object is a wrapper, whose __getattr__ found the method on the wrapped object.
        return False
    return found is not None and getattr(found, "__func__", found) is not inherited
