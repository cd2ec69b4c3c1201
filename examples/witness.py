"""
Answer each datagram with a report of the layers that it passed through, one line for each layer.

    twistd -n tuntap host --tun tun0 --address 10.0.0.2/24 --kernel-address 10.0.0.1/24 --udp 7=witness.Witness

Run it as root in this directory, where twistd finds the module. Then, in another terminal:

    $ echo -n hello | socat -t1 - UDP:10.0.0.2:7
    tun0         33  octets read by TuntapPort
    IPv4         20  10.0.0.1 → 10.0.0.2, hop limit 64
    UDP           8  port 41235 → port 7
    Witness       5  'hello'

The first figure is the number of octets read from the device. The others are the octets of each header and of the data.
The report is made from transport.packet, which is set while the datagram is delivered.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.protocol import DatagramProtocol

from txtuntap import Packet, TuntapPort
from txtuntap.ethernet import EthernetHeader
from txtuntap.rawudp import UDPHeader
from txtuntap.udp.layer import UDPTransport


class Witness(DatagramProtocol):
    """
    Answers each datagram with the L{report} of its packet.
    """

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        # A port below 1024 may be another witness's. Between two of them, one forged datagram would loop forever.
        if addr[1] >= 1024:
            transport = cast(UDPTransport, self.transport)
            assert transport.packet is not None
            transport.write(report(transport.packet).encode(), addr)


def report(packet: Packet) -> str:
    """
    Describe what each layer has read of a packet, from the device upward.

    @return: a line for each layer: its name, the octets it has read, and the fields of its header.
    """
    data = packet.data
    bottom = packet.network if packet.ethernet is None else packet.link
    port = cast(TuntapPort, packet.port)
    lines = [(port.interface.decode(), len(data) - bottom, "octets read by TuntapPort")]
    if packet.ethernet is not None:
        frame = EthernetHeader(data[bottom:])
        stations = f"{frame.source.hex(':')} → {frame.dest.hex(':')}"
        lines.append(("Ethernet", packet.network - bottom, f"{stations}, type {packet.etherType:#06x}"))
    addresses = f"{packet.source} → {packet.dest}, hop limit {packet.hopLimit}"
    lines.append((f"IPv{packet.version}", packet.transport - packet.network, addresses))
    udp = UDPHeader(data[packet.transport :])
    lines.append(("UDP", packet.start - packet.transport, f"port {udp.source} → port {udp.dest}"))
    lines.append(("Witness", len(packet), repr(bytes(packet).decode(errors="replace"))))
    return "".join(f"{name:<10} {octets:>4}  {what}\n" for name, octets, what in lines)
