"""
The layers between a port and the protocol that an application gives it.
"""

from __future__ import annotations

from typing import Any

from txtuntap.device import TAP, TUN
from txtuntap.interfaces import IEthernetProtocol, IRawDatagramProtocol, IRawPacketProtocol
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.ability import knowsPackets
from txtuntap.mistakes import instead
from txtuntap.udp.layer import RawUDPProtocol
from txtuntap.wire import udp


def stackOn(proto: Any) -> tuple[Any, int]:
    """
    Find the protocol that a port delivers its packets to, and the kind of device that this protocol needs. If C{proto}
    takes whole frames or packets, it is that protocol itself. If it takes the payload of IP datagrams, it is a new
    L{IPProtocol} with C{proto} above it.

    @param proto: the protocol that the application gives.

    @return: the protocol for the port, and L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.

    @raise TypeError: C{proto} provides none of the interfaces, has no method to receive packets, or does not tell its
        protocol number.
    """
    if IEthernetProtocol.providedBy(proto) or IRawPacketProtocol.providedBy(proto):
        if not knowsPackets(proto) and not callable(getattr(proto, "datagramReceived", None)):
            raise TypeError(f"packets cannot reach {proto!r}: it has neither packetReceived nor datagramReceived")
        return proto, TAP if IEthernetProtocol.providedBy(proto) else TUN
    if not IRawDatagramProtocol.providedBy(proto):
        advice = instead(proto) or ". Add a DatagramProtocol to a RawUDPProtocol (addProto)"
        raise TypeError(
            f"{proto!r} cannot go on a TuntapPort: it provides none of IEthernetProtocol, IRawPacketProtocol and"
            f" IRawDatagramProtocol{advice}"
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
