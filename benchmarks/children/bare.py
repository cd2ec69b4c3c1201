"""
Bare loops over tun and tap devices, without a reactor: the peers and limits of several benchmarks.

    python -m benchmarks.children.bare deliver NAME FILE
    python -m benchmarks.children.bare verify NAME FILE
    python -m benchmarks.children.bare deliverSuperpackets NAME FILE
    python -m benchmarks.children.bare pytun NAME FILE
    python -m benchmarks.children.bare echo NAME
    python -m benchmarks.children.bare answer NAME
    python -m benchmarks.children.bare join TAP TAP

C{deliver} does with each datagram from a tun what L{benchmarks.stacks.floorStack} does. C{verify} also verifies the
checksums, and C{deliverSuperpackets} does the same as C{deliver} with each datagram of a superpacket. C{pytun} only
reads, with python-pytun. These four count datagrams in FILE. C{echo} sends back the datagrams of each superpacket, as
the application writes them. C{answer} answers echo requests. C{join} carries frames and superpackets between two taps.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import islice

from benchmarks.stacks import Echo, Stack, floorStack
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.wire import icmp, ipv4, udp
from txtuntap.wire.checksum import FOLD_FROM, foldedSum
from txtuntap.wire.offload import HEADER_LENGTH

#: The most octets of one read.
ROOM = 65536 + HEADER_LENGTH

#: The number of reads after which the count in the file is renewed.
READS = 16


class Written:
    """
    The transport of an application, which collects what the application writes.

    @ivar datagrams: the datagrams.
    """

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []

    def write(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Collect one more datagram.
        """
        self.datagrams.append(datagram)


def opened(name: str, mode: int, offload: bool) -> int:
    """
    Open a device whose reads block.

    @param offload: whether superpackets are read, behind their headers.

    @return: the descriptor.
    """
    device = LinuxDevice(name, mode)
    device.open(offload)
    os.set_blocking(device.fileno(), True)
    return device.fileno()


def reads(descriptor: int) -> Iterator[bytes]:
    """
    Read packets from a device.
    """
    return iter(partial(os.read, descriptor, ROOM), b"")


def counting(stack: Stack, packets: Iterator[bytes], file: str) -> None:
    """
    Deliver packets to a stack, and count the datagrams in a file.
    """
    with open(file, "r+b") as writable:
        memory = mmap.mmap(writable.fileno(), 8)
    (application,) = stack.applications
    while True:
        stack.deliver(islice(packets, READS))
        struct.pack_into("=Q", memory, 0, application.received)


@lru_cache
def datagrams(size: int, length: int) -> Callable[[bytes, int], tuple[bytes, ...]]:
    """
    Return the function that cuts the payload of a superpacket. It takes less time than one slice for each datagram.

    @param size: the octets of each datagram; 0: there is one datagram.
    @param length: the octets of all.
    """
    whole, rest = divmod(length, size or ROOM)
    return struct.Struct(f"{size}s" * whole + (f"{rest}s" if rest else "")).unpack_from


def deliver(name: str, file: str) -> None:
    """
    Deliver the datagram of each packet to an application.
    """
    counting(floorStack(0), reads(opened(name, TUN, False)), file)


def verify(name: str, file: str) -> None:
    """
    Verify the checksums of each packet, and deliver its datagram to an application.
    """
    floor = floorStack(0)
    number = int.from_bytes

    def verified(packets: Iterable[bytes]) -> Iterator[bytes]:
        for data in packets:
            size = len(data)
            # The addresses are in the pseudo header, too. Its other words are the protocol number and the length.
            sums = foldedSum(data, 12, size) if size > FOLD_FROM else number(data[12:size], "big") << (size % 2 * 8)
            if not number(data[:20], "big") % 0xFFFF and not (sums + size - 20 + udp.PROTOCOL) % 0xFFFF:
                yield data

    packets = verified(reads(opened(name, TUN, False)))
    counting(floor, packets, file)


def deliverSuperpackets(name: str, file: str) -> None:
    """
    Deliver each datagram of each superpacket to an application.
    """
    floor = floorStack(HEADER_LENGTH)
    (application,) = floor.applications
    unpack = struct.Struct(f"=4xH{HEADER_LENGTH - 6 + 12}x12s").unpack_from
    payload = HEADER_LENGTH + ipv4.HEADER_LENGTH + udp.HEADER_LENGTH
    flows: dict[bytes, tuple[Callable[..., None], tuple[str, int]]] = {}

    def split(packets: Iterable[bytes]) -> None:
        for data in packets:
            size, key = unpack(data)
            try:
                received, address = flows[key]
            except KeyError:
                received, address = flows[key] = application.datagramReceived, ("10.0.0.1", 40000)
            for datagram in datagrams(size, len(data) - payload)(data, payload):
                received(datagram, address)

    counting(Stack(split, floor.applications), reads(opened(name, TUN, True)), file)


def echo(name: str) -> None:
    """
    Deliver each datagram of each superpacket to an application, and write a superpacket of what the application writes.

    The offload header and the checksum are those of the superpacket that was read. Only the addresses and ports change
    places, so that their sum remains.
    """
    descriptor = opened(name, TUN, True)
    write, join = os.write, b"".join
    ip = HEADER_LENGTH + ipv4.HEADER_LENGTH
    payload = ip + udp.HEADER_LENGTH
    source, dest = ip - 8, ip - 4
    unpack = struct.Struct("=4xH").unpack_from
    application, address = Echo(), ("10.0.0.1", 40000)
    application.transport = written = Written()
    received = application.datagramReceived
    for data in reads(descriptor):
        # The kernel may also send packets of its own, by IPv6.
        if data[HEADER_LENGTH] == 0x45:
            (size,) = unpack(data)
            for datagram in datagrams(size, len(data) - payload)(data, payload):
                received(datagram, address)
            headers = (data[:source], data[dest:ip], data[source:dest], data[ip + 2 : ip + 4], data[ip : ip + 2])
            write(descriptor, join((*headers, data[ip + 4 : payload], *written.datagrams)))
            written.datagrams.clear()


def pytun(name: str, file: str) -> None:
    """
    Read packets with python-pytun, and do nothing else.
    """
    import pytun as peer

    tun = peer.TunTapDevice(name=name, flags=peer.IFF_TUN | peer.IFF_NO_PI)
    floor = floorStack(0)
    (application,) = floor.applications

    def read(packets: Iterable[bytes]) -> None:
        for _ in packets:
            application.received += 1

    counting(Stack(read, floor.applications), iter(partial(tun.read, ROOM), b""), file)


def answer(name: str) -> None:
    """
    Answer the echo requests from a tun: swap the addresses, change the type, and adjust the checksum.
    """
    descriptor = opened(name, TUN, False)
    write, join = os.write, b"".join
    sums = struct.Struct("!22xH").unpack_from
    pack = struct.Struct("!BxH").pack
    for data in reads(descriptor):
        if data[0] == 0x45 and data[20] == icmp.ECHO_REQUEST:
            (checksum,) = sums(data)
            checksum += icmp.ECHO_REQUEST << 8
            # The carry of the ones' complement sum is added again.
            checksum = (checksum & 0xFFFF) + (checksum >> 16)
            write(descriptor, join((data[:12], data[16:20], data[12:16], pack(icmp.ECHO_REPLY, checksum), data[24:])))


def join(first: str, second: str) -> None:
    """
    Write each frame or superpacket that comes from one tap to the other.
    """
    descriptors = [opened(name, TAP, True) for name in (first, second)]
    others = dict(zip(descriptors, descriptors[::-1], strict=True))
    poll = select.epoll()
    for descriptor in descriptors:
        os.set_blocking(descriptor, False)
        poll.register(descriptor, select.EPOLLIN)
    read, write = os.read, os.write
    while True:
        for descriptor, _ in poll.poll():
            other = others[descriptor]
            try:
                while True:
                    write(other, read(descriptor, ROOM))
            except (BlockingIOError, OSError):
                # Nothing more waits, or the other side is not up yet.
                continue


LOOPS: dict[str, Callable[..., None]] = {
    loop.__name__: loop for loop in (deliver, verify, deliverSuperpackets, pytun, echo, answer, join)
}

if __name__ == "__main__":
    LOOPS[sys.argv[1]](*sys.argv[2:])
