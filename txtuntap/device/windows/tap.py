"""
A tap of Windows by tap-windows6, the driver of OpenVPN (tap0901), and by its predecessor (tap0801). Run under Wine with
fake drivers, not on a real Windows yet.

An administrator installs the adapters. A program opens one of them, and reads and writes Ethernet frames. The driver
can also make the Ethernet headers itself, so that the program reads and writes IP packets
(C{TAP_WIN_IOCTL_CONFIG_TUN}).
"""

from __future__ import annotations

import errno
import re
import struct
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from txtuntap.device import LONGEST_PACKET, TAP
from txtuntap.device.settings import MAX_MTU, MIN_MTU, InterfaceAddress
from txtuntap.device.windows.device import WindowsDevice
from txtuntap.device.windows.library import (
    ERROR_ACCESS_DENIED,
    ERROR_DEVICE_NOT_CONNECTED,
    ERROR_DEVICE_REMOVED,
    ERROR_FILE_NOT_FOUND,
    ERROR_GEN_FAILURE,
    ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER,
    ERROR_IO_INCOMPLETE,
    ERROR_MORE_DATA,
    ERROR_NO_SUCH_DEVICE,
    ERROR_PATH_NOT_FOUND,
    CallFailed,
    errorText,
)
from txtuntap.device.windows.link import DEFAULT_MTU
from txtuntap.device.windows.registry import TapAdapter
from txtuntap.device.windows.transfer import Transfer, closeAll
from txtuntap.interfaces import IDevice

#: The requests of C{tap-windows.h}: C{CTL_CODE(FILE_DEVICE_UNKNOWN, number, METHOD_BUFFERED, FILE_ANY_ACCESS)}.
GET_MAC, GET_VERSION, GET_MTU = 0x220004, 0x220008, 0x22000C
SET_MEDIA_STATUS, CONFIG_TUN = 0x220018, 0x220028

_NUMBER, _VERSION = struct.Struct("=I"), struct.Struct("=3I")

#: The oldest version of the driver that has C{CONFIG_TUN}.
_TUN_VERSION = (8, 2)

#: The number of reads that wait in the driver at the same time, and the number of writes. The driver takes no more in
#: its older versions (C{IRP_QUEUE_SIZE}).
TRANSFERS = 16

#: The smallest number of octets in the buffer of a read, and the number by which it exceeds the MTU: an Ethernet header
#: with two VLAN tags.
_MIN_BUFFER, _HEADERS = 2048, 22

#: The smallest number of octets in an Ethernet frame, and in an IP packet that the driver takes (C{IP_HEADER_SIZE}).
_FRAME, _PACKET = 14, 20

#: The largest number of packets that are dropped at once because they cannot be packets.
_MOST_WRONG = 64

#: The errors of a transfer, or of the opening, after the adapter was removed.
_GONE = frozenset(
    (
        ERROR_FILE_NOT_FOUND,
        ERROR_PATH_NOT_FOUND,
        ERROR_INVALID_HANDLE,
        ERROR_NO_SUCH_DEVICE,
        ERROR_DEVICE_NOT_CONNECTED,
        ERROR_DEVICE_REMOVED,
    )
)

#: The milliseconds between two tries to open an adapter again after the machine has slept, and the largest number of
#: tries.
RETRY, MAX_TRIES = 1000, 60

#: The seconds after which an adapter that was opened again counts as awake.
_AWAKE = 10.0

_INSTALL = "install tap-windows6 (www.openvpn.net), and add an adapter ('tapctl create')"


@implementer(IDevice)
class TapDevice(WindowsDevice):
    """
    An adapter of tap-windows6. Opening it needs no elevation. It continues to exist when it is closed.

    After the machine has slept, the device opens the adapter again. Packets are lost meanwhile.

    Counters: C{inTruncated} (shorter than a header), C{inErrors} (longer than the MTU allows), C{outErrors} (refused
    after they were sent), C{inInterruptions} (the times that the adapter had to be opened again).

    @ivar driverVersion: the version of the driver, such as C{(9, 27)}; C{None} before the device is open.
    @ivar adapter: the adapter; C{None} before the device is open.
    """

    def __init__(
        self,
        name: str | bytes = "",
        mode: int = TAP,
        address: str | InterfaceAddress | None = None,
        system: Any = None,
    ) -> None:
        """
        @param name: the name of the adapter's interface, such as C{"Ethernet 3"}. Empty: the first adapter that no
            program has open. C{tap%d}: the first such adapter with a number in this place.
        @param mode: C{TAP}; C{TUN}: the driver makes the Ethernet headers.
        @param address: the IPv4 address of Windows' end of a tun, with its network or its peer, such as
            C{"10.0.0.1/24"}. The driver answers ARP requests for the network's other addresses. It does not set the
            address. C{None} for a tap.
        @param system: a replacement for the calls of Windows, for tests; C{None}: make the real calls.

        @raise ValueError: an argument is not valid, or a tun has no address.
        """
        super().__init__(name, mode, system)
        self._tun = None if mode == TAP else _tunAddresses(address)
        if mode == TAP and address is not None:
            raise ValueError("the driver of a tap needs no address: leave it out, and set it by configureInterface")
        self.driverVersion: tuple[int, int] | None = None
        self.adapter: TapAdapter | None = None
        self._shortest = _FRAME if mode == TAP else _PACKET
        self._file = 0
        # Closes the file.
        self._end: Callable[[], object] | None = None
        # The MTU that the driver has from the registry.
        self._driverMTU = DEFAULT_MTU
        self._reads: list[Transfer] = []
        self._writes: list[Transfer] = []
        # The positions of the read that ends next, and of the write that is used next.
        self._nextRead = self._nextWrite = 0
        # Whether a read may have ended.
        self._isUnread = True
        # The number of tries to open the adapter again, the time of the next, and the time of the last success.
        self._tries = 0
        self._retryAt = self._awakeSince = 0.0

    def _attach(self) -> None:
        self.adapter = self._openFirst()
        self._tries = 0
        self.name = self.adapter.name
        links = self._system.links
        luid = links.byGUID(uuid.UUID(self.adapter.guid).bytes_le)
        self.index = 0 if luid is None else links.index(luid)
        known = None if luid is None else links.mtu(luid)
        self.mtu = self._driverMTU if known is None else min(self._driverMTU, known)

    def _openFirst(self) -> TapAdapter:
        """
        Open the first adapter of the name that no program has open.
        """
        adapters: list[TapAdapter] = self._system.tapAdapters()
        if not adapters:
            raise OSError(errno.ENODEV, f"there is no adapter of tap-windows6: {_INSTALL}")
        called = [each for each in adapters if self._isCalled(each.name)]
        if not called:
            names = ", ".join(each.name for each in adapters)
            text = f"no adapter of tap-windows6 is called {self._asked}: use one of {names}, rename it, or {_INSTALL}"
            raise OSError(errno.ENODEV, text)
        for adapter in called:
            try:
                self._openFile(adapter)
            except CallFailed as e:
                isLast = adapter is called[-1]
                if isLast or e.code != ERROR_GEN_FAILURE:
                    raise _refused(adapter, e) from e
            else:
                break
        return adapter

    def _isCalled(self, name: str) -> bool:
        """
        Whether an adapter has the name that was asked for. Windows ignores the case of letters.
        """
        pattern = re.escape(self._asked).replace("%d", "[0-9]+") if self._asked else ".*"
        return re.fullmatch(pattern, name, re.IGNORECASE) is not None

    def _openFile(self, adapter: TapAdapter) -> None:
        """
        Open an adapter, and begin to read from it.

        @raise CallFailed: Windows refuses.
        @raise OSError: this is no driver of OpenVPN.
        """
        kernel = self._system.kernel
        file = kernel.openFile(adapter.path)
        transfers: list[Transfer] = []
        try:
            self._prepare(adapter, file)
            size = max(_MIN_BUFFER, self._driverMTU + _HEADERS)
            for _ in range(2 * TRANSFERS):
                transfers.append(Transfer(kernel, size))
            for read in transfers[:TRANSFERS]:
                code = read.read(file)
                if code:
                    raise CallFailed(code)
        except BaseException:
            closeAll(kernel, file, transfers)
            raise
        self._file, self._reads, self._writes = file, transfers[:TRANSFERS], transfers[TRANSFERS:]
        # The driver writes into the memory of the reads until they have ended, even if the program forgets to close.
        self._end = weakref.finalize(self, closeAll, kernel, file, transfers)
        self._nextRead = self._nextWrite = 0
        self._isUnread = True

    def _prepare(self, adapter: TapAdapter, file: int) -> None:
        """
        Read the state of an adapter, and switch its carrier on. Reads fail before that.
        """
        ask = self._system.kernel.control
        version = ask(file, GET_VERSION, bytes(_VERSION.size), _VERSION.size)
        linkAddress = ask(file, GET_MAC, bytes(6), 6)
        mtu = ask(file, GET_MTU, bytes(_NUMBER.size), _NUMBER.size)
        if len(version) < _VERSION.size or len(linkAddress) < 6 or linkAddress[0] & 1 or len(mtu) < _NUMBER.size:
            raise OSError(errno.EIO, f"{adapter.name}: the driver {adapter.component} gives no version, MTU or address")
        major, minor, _ = _VERSION.unpack(version)
        self.driverVersion = major, minor
        self.linkAddress = linkAddress if self.mode == TAP else None
        (number,) = _NUMBER.unpack(mtu)
        if MIN_MTU <= number <= MAX_MTU:
            self._driverMTU = number
        if self._tun is not None:
            if self.driverVersion < _TUN_VERSION:
                text = f"{adapter.name}: the driver's version {major}.{minor} has no tun: use a tap, or install 9.0"
                raise OSError(errno.ENOTSUP, text)
            ask(file, CONFIG_TUN, self._tun, len(self._tun))
        ask(file, SET_MEDIA_STATUS, _NUMBER.pack(1), _NUMBER.size)

    def _detach(self) -> None:
        self._closeFile()

    def _closeFile(self) -> None:
        if self._waiter is not None:
            self._waiter.release()
        self._file, self._reads, self._writes = 0, [], []
        if self._end is not None:
            # Only the first call has an effect.
            self._end()

    def _mayWait(self) -> bool:
        return self._file != 0 and self._isUnread

    def _signal(self) -> tuple[int | None, int | None]:
        if self._file:
            return self._reads[self._nextRead].event, None
        return None, max(1, int(1000 * (self._retryAt - self._system.monotonic())))

    def _take(self) -> bytes | None:
        if not self._file and not self._reopen():
            return None
        self._isUnread = True
        for skipped in range(_MOST_WRONG):
            read = self._reads[self._nextRead]
            code, octets = read.result(self._file)
            if code == ERROR_IO_INCOMPLETE:
                self._isUnread = False
                if not skipped:
                    self._foundNothing()
                return None
            if code not in (0, ERROR_MORE_DATA):
                self._interrupted(code)
                return None
            data = None if code else read.data(octets)
            # If this fails, the reads before it are finished first.
            read.read(self._file)
            self._nextRead = (self._nextRead + 1) % TRANSFERS
            if data is None:
                self.counters["inErrors"] += 1
            elif len(data) < self._shortest:
                self.counters["inTruncated"] += 1
            else:
                return data
        return None

    def _put(self, data: bytes) -> None:
        if len(data) < self._shortest:
            raise OSError(errno.EINVAL, "the data is not a packet")
        if len(data) > LONGEST_PACKET:
            raise OSError(errno.EMSGSIZE, f"a packet of {self.name} has {LONGEST_PACKET} octets at most")
        if not self._file:
            raise OSError(errno.EIO, f"{self.name} is down")
        write = self._writes[self._nextWrite]
        if write.isPending:
            code, _ = write.result(self._file)
            if code == ERROR_IO_INCOMPLETE:
                raise OSError(errno.ENOBUFS, f"the driver of {self.name} has not sent the last {TRANSFERS} packets yet")
            if code:
                self.counters["outErrors"] += 1
        code = write.write(self._file, data)
        if not code:
            self._nextWrite = (self._nextWrite + 1) % TRANSFERS
        elif code in _GONE:
            raise self._lose("its adapter was removed")
        elif code in (ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_PARAMETER):
            raise OSError(errno.EINVAL, "the data is not a packet")
        else:
            # The next read finds out whether the adapter has to be opened again.
            raise OSError(errno.EIO, f"{self.name} is down ({errorText(code)})")

    # Sleep

    def _interrupted(self, code: int) -> None:
        """
        Close the adapter after an error of a read, so that it can be opened again. The reads of an adapter end when the
        machine goes to sleep.

        @raise OSError: the adapter was removed.
        """
        now = self._system.monotonic()
        self._closeFile()
        self._checkPresent(code)
        self.counters["inInterruptions"] += 1
        if now - self._awakeSince > _AWAKE:
            self._tries = 0
        self._tryLater(code, now)

    def _tryLater(self, code: int, now: float) -> None:
        if self._tries >= MAX_TRIES:
            raise self._lose(f"it cannot be opened again ({errorText(code)})")
        self._tries += 1
        self._retryAt = now + RETRY / 1000

    def _checkPresent(self, code: int) -> None:
        """
        Check that the adapter still exists.

        @param code: the number of the last error.
        """
        present = [each.guid for each in self._system.tapAdapters()]
        if code in _GONE or self.adapter is None or self.adapter.guid not in present:
            raise self._lose("its adapter was removed")

    def _reopen(self) -> bool:
        """
        Open the adapter again, if it is time for that.

        @return: whether it is open.

        @raise OSError: the adapter was removed, or this was tried too often.
        """
        now = self._system.monotonic()
        if now < self._retryAt or self.adapter is None:
            return False
        try:
            self._openFile(self.adapter)
        except CallFailed as e:
            self._checkPresent(0)
            self._tryLater(e.code, now)
            return False
        except OSError as e:
            raise self._lose(e.strerror or str(e)) from e
        self._awakeSince = now
        return True


def _tunAddresses(address: str | InterfaceAddress | None) -> bytes:
    """
    Pack the argument of C{CONFIG_TUN}: Windows' own address, the network behind the tun, and its mask.

    @raise ValueError: C{address} is not an IPv4 address.
    """
    if address is None:
        raise ValueError(
            "the driver of tap-windows6 needs the address of Windows' end of a tun: give an address such as"
            " '10.0.0.1/24', or use a WintunDevice"
        )
    given = InterfaceAddress.of(address)
    network = given.destinations
    if network.version != 4:
        raise ValueError(f"the driver of tap-windows6 needs an IPv4 address, such as '10.0.0.1/24', not {given}")
    return given.interface.ip.packed + network.network_address.packed + network.netmask.packed


def _refused(adapter: TapAdapter, failed: CallFailed) -> OSError:
    """
    Make an error of an adapter that cannot be opened.
    """
    advice = {
        ERROR_GEN_FAILURE: "another program has it open: end that program, or use another adapter",
        ERROR_ACCESS_DENIED: "only an administrator may open it: run the program as administrator, or allow other users"
        " in the advanced settings of the adapter ('Non-Admin Access')",
        ERROR_FILE_NOT_FOUND: "its driver does not run, or the adapter is disabled: enable it",
    }.get(failed.code, "tap-windows6 refuses")
    return failed.explained(f"{adapter.name}: {advice}")
