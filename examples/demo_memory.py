"""
The part of demo.py that uses no kernel device: hosts on devices in memory, and packets built by this program.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from witness import Witness  # type: ignore[import-not-found]

from txtuntap import EthernetProtocol, IPProtocol, RawUDPProtocol, TuntapPort
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, udpPacket

STATION = "02:00:00:00:00:02"
PORT = 40000


class Memory:
    """
    Hosts on devices in memory.
    """

    name = "memory"

    def __enter__(self) -> None:
        self._clock = Clock()
        self._devices: dict[str, MemoryDevice] = {}

    def __exit__(self, *ignored: object) -> None:
        pass

    def log(self) -> str:
        """
        Return an empty text, since no service writes a log.
        """
        return ""

    def attach(self, device: str, prefixes: tuple[str, str]) -> None:
        """
        Put a host on a device.
        """
        four, six = prefixes
        udp = RawUDPProtocol()
        udp.addProto(7, Witness())
        ip = IPProtocol([f"{four}2/24", f"{six}2/64"])
        ip.addProto(17, udp)
        top: IPProtocol | EthernetProtocol = ip
        if device.startswith("tap"):
            top = EthernetProtocol(STATION)
            top.addProto(0x0800, ip)
            top.addProto(0x86DD, ip)
        memory = self._devices[device] = MemoryDevice(TUN if top is ip else TAP, device)
        TuntapPort(device, top, reactor=self._clock, device=memory).startListening()

    def ask(self, device: str, host: str, text: bytes) -> tuple[str, int, bytes]:
        """
        Send a datagram to UDP port 7 of a host, and return its answer.

        @return: the source address and source port of the datagram, and the answer.

        @raise OSError: no answer came.
        """
        memory = self._devices[device]
        address = f"{host[:-1]}1"
        question = udpPacket(address, host, PORT, 7, text)
        if memory.mode == TAP:
            question = ethernetFrame(memory.linkAddress or b"", STATION, 0x86DD if ":" in host else 0x0800, question)
        memory.deliver(question)
        self._clock.advance(0)
        if not memory.sent:
            raise OSError(0, "nothing was sent")
        # The headers of the answer have the same length as those of the question.
        return address, PORT, memory.sent.pop()[len(question) - len(text) :]
