"""
A tap of macOS by a pair of C{feth} interfaces, which macOS has since 10.13. Not run on a real macOS yet.

Each of the two interfaces receives the frames that the other sends. The kernel uses the first: it has the addresses.
The second, the peer, is that of the program. The program reads the frames that arrive at the peer from the Berkeley
packet filter (C{bpf(4)}), and writes frames into the peer by a socket of the family C{AF_NDRV}. The constants are those
of C{net/bpf.h}, C{net/ndrv.h} and XNU's C{bsd/net/if_fake_var.h}.

If another program deletes the first interface, XNU's C{bsd/net/if_fake.c} only separates the second one from it. No
descriptor of the second becomes readable, and the kernel drops the frames that are written. So the device asks the
second once a second for its partner.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.fdesc import setNonBlocking
from twisted.logger import Logger
from zope.interface import implementer

from txtuntap.device import EBADFD, LONGEST_PACKET, TAP, interfaceName
from txtuntap.device.advice import advising
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.layout import AF_INET, DARWIN
from txtuntap.device.unix.opening import openFree
from txtuntap.device.unix.system import RealSystem
from txtuntap.interfaces import IDevice, Reader
from txtuntap.mistakes import checkBuffers
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload

#: C{sys/sockio.h}: give the driver of an interface a command, and ask it a question.
SIOCSDRVSPEC, SIOCGDRVSPEC = 0x8028697B, 0xC028697B

#: C{struct ifdrv}: the interface's name, the command, and the length and the place of its argument.
_DRIVER_REQUEST = struct.Struct("=16sQQQ")

#: C{IF_FAKE_S_CMD_SET_PEER} and C{IF_FAKE_G_CMD_GET_PEER}, and C{struct if_fake_request} with the name of the peer.
_SET_PEER, _GET_PEER, _PEER_REQUEST = 1, 1, struct.Struct("=32x16s112x")

#: C{net/bpf.h}
BIOCSBLEN, BIOCPROMISC, BIOCSETIF = 0xC0044266, 0x20004269, 0x8020426C
BIOCIMMEDIATE, BIOCSSEESENT = 0x80044270, 0x80044277

#: C{struct bpf_hdr}: after the time, the number of octets that follow, that of the whole frame, and the length of this
#: header with its padding. The next header begins at a multiple of four octets.
_RECORD, _ALIGNMENT = struct.Struct("=8xIIH"), 4

#: C{AF_NDRV}, and C{struct sockaddr_ndrv}: its length, its family, and the name of the interface.
AF_NDRV, _NDRV_ADDRESS = 27, struct.Struct("=BB16s")

#: The number of octets that the kernel collects for one read, and the largest that this package asks for.
BUFFER_SIZE = 65536

#: The number of seconds after which the second interface is asked for its partner again.
CHECK_INTERVAL = 1.0

#: The smallest number of octets in an Ethernet frame, and the largest that C{feth} takes (C{net.link.fake.max_mtu}).
_SHORTEST, _LONGEST = 14, 16370 + 14

#: The error numbers of a read or a write after the interface was deleted.
_GONE = {errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.EDESTADDRREQ}

_ADVICE = {
    **DARWIN.advice,
    errno.EEXIST: "another program uses it, or has left it behind ('ifconfig NAME destroy' deletes it)",
    errno.EINVAL: "the kernel does not know the request: use macOS 10.13 or later",
}

_NAME = re.compile(r"(?:feth(%d|0|[1-9][0-9]{0,4}))?")


class Join:
    """
    A descriptor that is readable while one of several descriptors is, and once in a while (C{kqueue(2)}).
    """

    def __init__(self, filenos: Sequence[int], interval: float) -> None:
        """
        @param filenos: the descriptors.
        @param interval: the number of seconds after which the descriptor becomes readable by itself.
        """
        module: Any = select
        self._timer = module.KQ_FILTER_TIMER
        self._most = len(filenos) + 1
        self._queue: Any = module.kqueue()
        try:
            changes = [module.kevent(each, module.KQ_FILTER_READ, module.KQ_EV_ADD) for each in filenos]
            changes.append(module.kevent(0, self._timer, module.KQ_EV_ADD, 0, int(interval * 1000)))
            self._queue.control(changes, 0, 0)
        except BaseException:
            self._queue.close()
            raise

    def fileno(self) -> int:
        """
        Return the descriptor to wait on.
        """
        return int(self._queue.fileno())

    def settle(self) -> bool:
        """
        Have the kernel forget the events of descriptors that were read since.

        @return: whether the interval has passed since the last call.
        """
        return any(each.filter == self._timer for each in self._queue.control(None, self._most, 0))

    def close(self) -> None:
        """
        Close the descriptor, but none of the joined ones.
        """
        self._queue.close()


def _withAddress(call: str, fileno: int, address: bytes) -> None:
    """
    Bind or connect a socket of a family that Python's sockets do not know.

    @param call: C{"bind"} or C{"connect"}.
    @param address: the octets of the socket address.
    """
    if getattr(ctypes.CDLL(None, use_errno=True), call)(fileno, address, len(address)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class FethSystem(RealSystem):
    """
    The system calls of a L{FethDevice}. Tests can replace this by another object with the same names.
    """

    pipe = staticmethod(os.pipe)
    join = staticmethod(Join)
    withAddress = staticmethod(_withAddress)


@implementer(IDevice)
class FethDevice:
    """
    A tap of macOS by a pair of C{feth} interfaces. Its descriptor does not block. The pair is deleted when the device
    is closed. A program that is killed leaves the pair behind: C{ifconfig feth0 destroy} deletes it.

    @ivar name: the name of the kernel's interface; once the device is open, the name that the kernel has given.
    @ivar peer: the name of the program's interface; empty before the device is open.
    @ivar mtu: the MTU of the kernel's interface in octets when the device was opened.
    @ivar linkAddress: the link address of the kernel's interface when the device was opened.
    @ivar index: the index of the kernel's interface when the device was opened.
    @ivar up: whether the link was up when the device was opened.
    """

    mode = TAP
    offloads = 0

    _log = Logger()

    def __init__(self, name: str | bytes = "", system: Any = None) -> None:
        """
        @param name: the name of the kernel's interface: C{feth3}; C{feth%d} or empty: the next free number.
        @param system: a replacement for the operating system's calls, for tests; C{None}: make the real calls.

        @raise ValueError: C{name} is not that of a C{feth} interface.
        """
        self.name = os.fsdecode(interfaceName(name))
        found = _NAME.fullmatch(self.name)
        if found is None:
            raise ValueError(f"a tap of macOS is named feth0, or feth%d for the next free number, not {self.name!r}")
        self._asked = "feth" if found[1] in (None, "%d") else self.name
        self._system: Any = FethSystem if system is None else system
        self._kernel = Kernel(self._system, DARWIN)
        self.peer = ""
        self.mtu = 1500
        self.linkAddress: bytes | None = None
        self.index = 0
        self.up = False
        # The names of the interfaces that exist because this device has created them.
        self._created: list[str] = []
        self._most = BUFFER_SIZE
        self._bpf = self._ndrv = -1
        self._pipe = (-1, -1)
        self._join: Any = None
        # The frames of the last read that were not received yet. While there are some, the pipe holds an octet, so that
        # the joined descriptor stays readable.
        self._frames: deque[tuple[bytes, bool]] = deque()
        self._isMarked = False

    def open(self, offload: bool | None = False) -> None:
        """
        Create the pair, and attach to it: see L{IDevice.open}.
        """
        if self.fileno() >= 0:
            raise OSError(errno.EBUSY, f"{self.name} is open already")
        if offload:
            raise OSError(
                errno.ENOTSUP, f"{self.name} has no offload on macOS: give offload=False, or None to use what there is"
            )
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        system = self._system
        self.name = self._create(self._asked)
        self.peer = self._create("feth")
        self._bpf, number = openFree(system, DARWIN, "bpf")
        with advising(f"the pair of {self.name} and {self.peer}, by /dev/bpf{number}", _ADVICE):
            self._drive(SIOCSDRVSPEC, self.name, _SET_PEER, self.peer)
            self._kernel.setUp(self.peer, True)
            self._prepareFilter()
            self._ndrv = system.socket(AF_NDRV, socket.SOCK_RAW, 0).detach()
            address = _NDRV_ADDRESS.pack(_NDRV_ADDRESS.size, AF_NDRV, self.peer.encode())
            for call in "bind", "connect":
                system.withAddress(call, self._ndrv, address)
            setNonBlocking(self._ndrv)
            self._pipe = system.pipe()
            state = self._kernel.state(self.name)
            self.mtu, self.linkAddress = state.mtu, state.linkAddress
            self.index, self.up = state.index, state.up
            # The device is open from now on.
            self._join = system.join((self._bpf, self._pipe[0]), CHECK_INTERVAL)

    def _create(self, name: str) -> str:
        """
        Create one of the two interfaces.

        @param name: its name; C{feth}: the kernel chooses the number.

        @return: the name that the kernel has given.
        """
        with advising(f"the new interface {name}", _ADVICE):
            created = self._kernel.create(name)
        self._created.append(created)
        return created

    def _drive(self, number: int, name: str, command: int, peer: str = "") -> str:
        """
        Give the driver of an interface a command about its peer.

        @param peer: the name of the peer in the argument.

        @return: the name of the peer in the answer; empty: there is none.
        """
        argument = ctypes.create_string_buffer(_PEER_REQUEST.pack(peer.encode()), _PEER_REQUEST.size)
        place = ctypes.addressof(argument)
        request = _DRIVER_REQUEST.pack(name.encode(), command, _PEER_REQUEST.size, place)
        self._kernel.ioctl(AF_INET, number, request)
        (found,) = _PEER_REQUEST.unpack(argument.raw)
        return os.fsdecode(found.partition(b"\0")[0])

    def _prepareFilter(self) -> None:
        """
        Have the packet filter collect the frames that arrive at the peer.
        """
        # The size can be set only before the filter has an interface.
        for request, value in (
            (BIOCSBLEN, BUFFER_SIZE.to_bytes(4, "little")),
            (BIOCIMMEDIATE, b"\1\0\0\0"),
            (BIOCSSEESENT, bytes(4)),
            (BIOCSETIF, self._kernel.request(self.peer)),
            (BIOCPROMISC, 0),
        ):
            answer = self._system.ioctl(self._bpf, request, value)
            if request == BIOCSBLEN:
                # The kernel may allow less, and a read has to ask for exactly this number.
                self._most = min(int.from_bytes(answer[:4], "little"), BUFFER_SIZE)

    def receiveFinished(self) -> None:
        """
        Do nothing, because every frame is complete: see L{IDevice.receiveFinished}.
        """

    def close(self) -> None:
        """
        Close the descriptors, and delete the pair: see L{IDevice.close}.
        """
        join, self._join = self._join, None
        if join is not None:
            join.close()
        for fileno in self._bpf, self._ndrv, *self._pipe:
            if fileno >= 0:
                self._system.close(fileno)
        self._bpf = self._ndrv = -1
        self._pipe = (-1, -1)
        self._frames.clear()
        self._isMarked = False
        created, self._created = self._created, []
        for name in created:
            try:
                self._kernel.destroy(name)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    # With ENXIO, another program has deleted it.
                    self._log.warn("{name} was not deleted: {reason}", name=name, reason=e.strerror or e)
        self.peer, self.index = "", 0

    def fileno(self) -> int:
        """
        Return the descriptor to wait on; -1 if the device is closed.
        """
        return -1 if self._join is None else int(self._join.fileno())

    def readable(self, callback: object) -> None:
        """
        Raise C{OSError}, because this device has a descriptor to wait for.
        """
        raise OSError(errno.ENOTSUP, "a FethDevice takes no callback: wait until its descriptor is readable")

    def reader(self, maxPacketSize: int) -> Reader | None:
        """
        Return C{None}, because one read can bring several frames: see L{IDevice.reader}.
        """
        return None

    def receive(self, maxPacketSize: int = LONGEST_PACKET) -> Packet | None:
        """
        Receive the next frame: see L{IDevice.receive}.

        @raise OSError: as for L{IDevice.receive}, or the kernel's record of a frame cannot be parsed (C{EIO}).
        """
        self._checkOpen()
        if not self._frames:
            try:
                data = self._system.read(self._bpf, self._most)
            except (BlockingIOError, InterruptedError):
                data = b""
            except OSError as e:
                raise self._explained(e) from e
            self._frames.extend(framesIn(data))
        if not self._frames:
            if self._join.settle() and not self._isJoined():
                raise self._lost()
            return None
        frame, isCut = self._frames.popleft()
        self._mark(bool(self._frames))
        packet = Packet(frame[:maxPacketSize])
        packet.partial = isCut or len(frame) > maxPacketSize
        return packet

    def _mark(self, isLeft: bool) -> None:
        """
        Keep the descriptor readable as long as frames are left.
        """
        if isLeft != self._isMarked:
            self._isMarked = isLeft
            if isLeft:
                self._system.write(self._pipe[1], b"\1")
            else:
                self._system.read(self._pipe[0], 1)

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one frame: see L{IDevice.send}. While the link is down, the kernel drops it without an error.
        """
        self._checkOpen()
        if type(buffers) is not list:
            checkBuffers(buffers)
        data = b"".join(buffers)
        if len(data) < _SHORTEST:
            raise OSError(errno.EINVAL, "the data is not an Ethernet frame")
        if len(data) > _LONGEST:
            raise OSError(errno.EMSGSIZE, f"a frame of {self.name} has {_LONGEST} octets at most")
        while True:
            try:
                return int(self._system.write(self._ndrv, data))
            except InterruptedError:
                continue
            except OSError as e:
                raise self._explained(e) from e

    def _isJoined(self) -> bool:
        """
        Whether both interfaces exist, and exchange their frames.
        """
        try:
            return self._drive(SIOCGDRVSPEC, self.peer, _GET_PEER) == self.name
        except OSError as e:
            # Another error, such as too many open files, says nothing about the pair.
            return e.errno not in _GONE

    def _checkOpen(self) -> None:
        if self._join is None:
            raise OSError(errno.EBADF, f"{self.name} is not open: call open() first")

    def _explained(self, error: OSError) -> OSError:
        """
        Replace an error by the one that L{IDevice} prescribes.
        """
        if error.errno in _GONE:
            return self._lost()
        if error.errno == errno.ENETDOWN:
            return OSError(errno.EIO, f"{self.name} is down")
        return error

    def _lost(self) -> OSError:
        return OSError(EBADFD, f"{self.name} is lost: it or its peer {self.peer} was deleted")


def framesIn(data: bytes) -> list[tuple[bytes, bool]]:
    """
    Split the result of one read from the packet filter into frames.

    @return: each frame, and whether the kernel has cut it.

    @raise OSError: a record does not fit the data (C{EIO}).
    """
    frames, at = [], 0
    while at < len(data):
        captured, length, header = _RECORD.unpack_from(data, at) if len(data) - at >= _RECORD.size else (0, 0, 0)
        end = at + header + captured
        if header < _RECORD.size or end > len(data):
            raise OSError(errno.EIO, f"the packet filter's record at octet {at} of {len(data)} cannot be parsed")
        frames.append((data[at + header : end], captured < length))
        at += -(-(header + captured) // _ALIGNMENT) * _ALIGNMENT
    return frames
