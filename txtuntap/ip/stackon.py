"""
The layers between a port and the protocol that an application gives it.
"""

from __future__ import annotations

from typing import Any

from txtuntap.device import TAP, TUN
from txtuntap.interfaces import IEthernetProtocol, IRawDatagramProtocol, IRawPacketProtocol
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.ability import hasPacketReceived, knowsPackets
from txtuntap.mistakes import instead
from txtuntap.udp.layer import RawUDPProtocol
from txtuntap.wire import udp


def stackOn(proto: Any, mode: int | None = None, device: Any = None) -> tuple[Any, int]:
    """
    Find the protocol that a port delivers its packets to, and the kind of device that this protocol needs. If C{proto}
    takes whole frames or packets, it is that protocol itself. If it takes the payload of IP datagrams, it is a new
    L{IPProtocol} with C{proto} above it.

    @param proto: the protocol that the application gives.
    @param mode: C{TUN} or C{TAP}, for a protocol that has C{packetReceived}
        but none of the interfaces; C{None}: the interface of C{proto} tells, or the device.
    @param device: the device that the application gives for the port; C{None}: it gives none.

    @return: the protocol for the port, and C{TUN} or C{TAP}.

    @raise TypeError: C{proto} provides none of the interfaces, and neither C{mode} nor C{device} tells the kind; it has
        no method to receive packets; or it does not tell its protocol number.
    @raise ValueError: C{mode} is neither of the two, or contradicts the interface of C{proto}.
    """
    if mode not in (None, TUN, TAP):
        raise ValueError(f"mode is txtuntap.TUN or txtuntap.TAP, not {mode!r}")
    top, needed = _stackOn(proto, getattr(device, "mode", None) if mode is None else mode)
    if mode not in (None, needed):
        needs, given = ("a tap", "TUN") if needed == TAP else ("a tun", "TAP")
        raise ValueError(f"{proto!r} needs {needs}, and mode is {given}: leave mode out")
    return top, needed


def _stackOn(proto: Any, mode: int | None) -> tuple[Any, int]:
    """
    Find the protocol for a port and the kind of its device: see L{stackOn}.
    """
    if IEthernetProtocol.providedBy(proto) or IRawPacketProtocol.providedBy(proto):
        if not knowsPackets(proto) and not callable(getattr(proto, "datagramReceived", None)):
            raise TypeError(f"packets cannot reach {proto!r}: it has neither packetReceived nor datagramReceived")
        return proto, TAP if IEthernetProtocol.providedBy(proto) else TUN
    if not IRawDatagramProtocol.providedBy(proto):
        if hasPacketReceived(proto):
            if mode is None:
                raise TypeError(
                    f"{proto!r} does not say whether it receives Ethernet frames or IP packets: give mode=TAP or"
                    " mode=TUN"
                )
            return proto, mode
        advice = instead(proto) or ". Give it one, and give the port mode=TUN or mode=TAP"
        raise TypeError(
            f"{proto!r} cannot go on a TuntapPort: it provides none of IEthernetProtocol, IRawPacketProtocol and"
            f" IRawDatagramProtocol, and has no packetReceived{advice}"
        )
    number = udp.PROTOCOL if isinstance(proto, RawUDPProtocol) else getattr(proto, "protocolNumber", None)
    if number is None:
        raise TypeError(
            f"{proto!r} does not say which IP protocol it is: give it a protocolNumber, or add it to an IPProtocol"
            " with addProto(number, protocol) and put that on the port"
        )
    ip = IPProtocol()
    ip.addProto(number, proto)
    return ip, TUN
