"""
A fake of macOS's kernel with C{feth} interfaces, packet filters and sockets of C{AF_NDRV}. The numbers come from
C{constants.py}. The fake checks every octet of a request.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from contextlib import suppress
from typing import Any

import attrs

from tests.device.unix.routefakes import FakeKernel
from tests.device.unix.routesockets import refusal

#: The largest buffer that the fake's packet filters allow (C{debug.bpf_maxbufsize}).
MOST = 32768


@attrs.define
class Filter:
    """
    A packet filter, or a socket of C{AF_NDRV}, of the fake.

    @ivar near: the socket whose descriptor the program has.
    @ivar far: the socket that the kernel writes and reads.
    @ivar asked: the requests that the program has made, in order.
    @ivar interface: the name of the interface; empty: none yet.
    """

    near: socket.socket
    far: socket.socket
    size: int = 4096
    asked: list[str] = attrs.field(factory=list)
    interface: str = ""

    @classmethod
    def make(cls) -> Filter:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        far.setblocking(False)
        return cls(near, far)

    def close(self) -> None:
        self.near.close()
        self.far.close()


class Epoll:
    """
    A descriptor that is readable while one of several is, and after an interval, as C{kqueue} makes on macOS.
    """

    def __init__(self, filenos: tuple[int, ...], interval: float) -> None:
        # Linux alone has epoll, and other platforms check these types, too.
        module: Any = select
        assert interval > 0
        self._epoll: Any = module.epoll()
        # An octet waits in this pipe after the interval.
        self._pipe = os.pipe()
        for each in (*filenos, self._pipe[0]):
            self._epoll.register(each, module.EPOLLIN)
        self._isOver = False

    def fileno(self) -> int:
        return int(self._epoll.fileno())

    def expire(self) -> None:
        """
        Let the interval pass.
        """
        self._isOver = True
        os.write(self._pipe[1], b"\0")

    def settle(self) -> bool:
        isOver, self._isOver = self._isOver, False
        if isOver:
            os.read(self._pipe[0], 1)
        return isOver

    def close(self) -> None:
        self._epoll.close()
        for each in self._pipe:
            os.close(each)


class NdrvSocket:
    """
    A socket of C{AF_NDRV} before its descriptor is detached.
    """

    def __init__(self, made: Filter) -> None:
        self._made = made

    def detach(self) -> int:
        return self._made.near.fileno()


class FakeFethKernel(FakeKernel):
    """
    A kernel of macOS.

    @ivar filters: the open packet filters, by their descriptors.
    @ivar sockets: the open sockets of C{AF_NDRV}, by their descriptors.
    @ivar peers: the name of the peer of each interface that has one.
    @ivar busy: the number of packet filters that other programs have open.
    @ivar joins: the joined descriptors that were made.
    """

    O_RDWR = os.O_RDWR
    pipe = staticmethod(os.pipe)

    def __init__(self) -> None:
        super().__init__("darwin")
        self.O_NONBLOCK = self.numbers["O_NONBLOCK"]
        self.O_CLOEXEC = self.numbers["O_CLOEXEC"]
        self.joins: list[Epoll] = []
        self.filters: dict[int, Filter] = {}
        self.sockets: dict[int, Filter] = {}
        self.peers: dict[str, str] = {}
        self.busy = 0

    # The seam

    def join(self, filenos: tuple[int, ...], interval: float) -> Epoll:
        self._refuse("join")
        self.joins.append(Epoll(filenos, interval))
        return self.joins[-1]

    def open(self, path: str, flags: int) -> int:
        assert flags == self.O_RDWR | self.O_NONBLOCK | self.O_CLOEXEC
        self._refuse("open")
        number = int(path.removeprefix("/dev/bpf"))
        if number < self.busy:
            raise refusal(errno.EBUSY)
        made = Filter.make()
        self.filters[made.near.fileno()] = made
        return made.near.fileno()

    def close(self, fileno: int) -> None:
        found = self.filters.pop(fileno, None) or self.sockets.pop(fileno, None)
        if found is None:
            os.close(fileno)
        else:
            found.close()

    def read(self, fileno: int, size: int) -> bytes:
        found = self.filters.get(fileno)
        if found is None:
            return os.read(fileno, size)
        # A read has to ask for the size of the filter's buffer.
        assert size == found.size
        if found.interface not in self.links:
            raise refusal(errno.ENXIO)
        data = b""
        while len(data) < size - 2048:
            try:
                record = found.near.recv(65536)
            except BlockingIOError:
                if not data:
                    raise
                break
            data += bytes(-len(data) % 4) + record
        return data

    def write(self, fileno: int, data: bytes) -> int:
        if fileno in self.sockets and self.sockets[fileno].interface not in self.links:
            raise refusal(errno.ENXIO)
        self._refuseWrite()
        return os.write(fileno, data)

    def _refuseWrite(self) -> None:
        if "write" in self.failures:
            raise refusal(self.failures["write"])

    def withAddress(self, call: str, fileno: int, address: bytes) -> None:
        made = self.sockets[fileno]
        assert len(address) == self.numbers["sizeof(sockaddr_ndrv)"]
        # The length, the family and the name (C{net/ndrv.h}).
        name = address[-self.numbers["IFNAMSIZ"] :]
        assert address == bytes((len(address), self.numbers["PF_NDRV"])) + name
        made.interface = name.rstrip(b"\0").decode()
        made.asked.append(call)
        if made.interface not in self.links:
            raise refusal(errno.EADDRNOTAVAIL)

    def socket(self, family: int, type: int, protocol: int = 0) -> Any:
        if family != self.numbers["PF_NDRV"]:
            return super().socket(family, type, protocol)
        assert (type, protocol) == (self.numbers["SOCK_RAW"], 0)
        self._refuse("ndrv")
        made = Filter.make()
        self.sockets[made.near.fileno()] = made
        return NdrvSocket(made)

    def ioctl(self, fileno: int, number: int, request: Any) -> bytes:
        if fileno in self.filters:
            return self._filterIoctl(self.filters[fileno], number, request)
        numbers = self.numbers
        if number == numbers["SIOCIFCREATE"]:
            return self._create(request)
        if number == numbers["SIOCIFDESTROY"]:
            name = self._onlyName(request)
            if name not in self.links:
                raise refusal(errno.ENXIO)
            self.deleteInterface(name)
            return bytes(request)
        if number in (numbers["SIOCSDRVSPEC"], numbers["SIOCGDRVSPEC"]):
            self._drive(number == numbers["SIOCSDRVSPEC"], request)
            return bytes(request)
        return super().ioctl(fileno, number, request)

    def _onlyName(self, request: bytes) -> str:
        """
        Parse an C{ifreq} that has only a name.
        """
        assert len(request) == self.numbers["sizeof(ifreq)"]
        assert not any(request[self.numbers["ifreq.ifr_ifru"] :])
        return self._name(request, 0)

    def _name(self, request: bytes, at: int) -> str:
        return request[at : at + self.numbers["IFNAMSIZ"]].rstrip(b"\0").decode()

    def _create(self, request: bytes) -> bytes:
        self._refuse("SIOCIFCREATE")
        name = self._onlyName(request)
        if name == "feth":
            name = next(each for each in (f"feth{number}" for number in range(100)) if each not in self.links)
        if name in self.links:
            raise refusal(errno.EEXIST)
        link = self.add(name, self.numbers["IFF_BROADCAST"] | self.numbers["IFF_RUNNING"])
        link.hardware = bytes((0x66, 0x65, 0x74, 0x68, 0, link.index))
        return name.encode().ljust(len(request), b"\0")

    def _drive(self, isSet: bool, request: bytes) -> None:
        """
        Give an interface a peer, or tell the name of its peer.
        """
        numbers = self.numbers
        assert len(request) == numbers["sizeof(ifdrv)"]
        self._refuse("SIOCSDRVSPEC" if isSet else "SIOCGDRVSPEC")
        name = self._name(request, 0)
        if name not in self.links:
            raise refusal(errno.ENXIO)
        (command,) = struct.unpack_from("=Q", request, numbers["ifdrv.ifd_cmd"])
        (length,) = struct.unpack_from("=Q", request, numbers["ifdrv.ifd_len"])
        (place,) = struct.unpack_from("=Q", request, numbers["ifdrv.ifd_data"])
        expected = numbers["IF_FAKE_S_CMD_SET_PEER" if isSet else "IF_FAKE_G_CMD_GET_PEER"]
        assert (command, length) == (expected, numbers["sizeof(if_fake_request)"])
        argument = ctypes.string_at(place, length)
        at = numbers["if_fake_request.iffr_u"]
        peer = self._name(argument, at)
        assert argument == (bytes(at) + peer.encode()).ljust(length, b"\0")
        if not isSet:
            assert not peer
            ctypes.memmove(place + at, (self.peers.get(name, "").encode() + b"\0"), len(self.peers.get(name, "")) + 1)
            return
        assert peer in self.links
        self.peers[name], self.peers[peer] = peer, name

    def _filterIoctl(self, made: Filter, number: int, request: Any) -> bytes:
        numbers = self.numbers
        names = "BIOCSBLEN", "BIOCIMMEDIATE", "BIOCSSEESENT", "BIOCSETIF", "BIOCPROMISC"
        name = next(each for each in names if numbers[each] == number)
        self._refuse(name)
        made.asked.append(name)
        if name == "BIOCPROMISC":
            assert request == 0
            assert made.interface
            return b""
        assert len(request) == (number >> 16) & 0x1FFF
        if name == "BIOCSETIF":
            made.interface = self._onlyName(request)
            assert made.interface in self.links
        elif name == "BIOCSBLEN":
            assert not made.interface
            made.size = min(struct.unpack("=I", request)[0], MOST)
            return struct.pack("=I", made.size)
        else:
            assert struct.unpack("=I", request) == (name == "BIOCIMMEDIATE",)
        return bytes(request)

    # The network

    def deliver(self, name: str, frame: bytes, cut: int | None = None) -> None:
        """
        Send a frame from an interface, to arrive at its peer. A filter that is full loses it.

        @param cut: the number of octets that the filter captures; L{None}: all.
        """
        peer = self.peers[name]
        if not self.links[name].flags & self.links[peer].flags & self.numbers["IFF_UP"]:
            return
        numbers = self.numbers
        for each in self.filters.values():
            if each.interface == peer:
                captured = frame[:cut]
                header = bytearray(numbers["sizeof(bpf_hdr)"])
                struct.pack_into("=II", header, numbers["bpf_hdr.bh_caplen"], len(captured), len(frame))
                # The header ends after its last field, so that the payload of the frame is aligned.
                end = numbers["bpf_hdr.bh_hdrlen"] + 2
                struct.pack_into("=H", header, numbers["bpf_hdr.bh_hdrlen"], end)
                with suppress(BlockingIOError):
                    each.far.send(header[:end] + captured)

    def sent(self, name: str) -> list[bytes]:
        """
        Return the frames that have arrived at an interface since the last call.
        """
        frames = []
        for each in self.sockets.values():
            if self.peers[each.interface] == name:
                with suppress(BlockingIOError):
                    while True:
                        frames.append(each.far.recv(65536))
        return frames

    def deleteInterface(self, name: str) -> None:
        """
        Delete an interface, which makes its filters readable.
        """
        peer = self.peers.pop(name, None)
        if peer is not None:
            self.peers.pop(peer, None)
        self.remove(name)
        for each in (*self.filters.values(), *self.sockets.values()):
            if each.interface == name:
                each.far.close()
