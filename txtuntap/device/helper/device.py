"""
A device for a program without privilege: the helper (L{txtuntap.device.helper}) opens and configures it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from txtuntap.device import LONGEST_PACKET, TAP
from txtuntap.device.choice import makeDevice
from txtuntap.device.helper.descriptors import receiveDescriptors
from txtuntap.device.platform import requireUNIX, runDirectory
from txtuntap.device.settings import InterfaceSettings
from txtuntap.interfaces import IDevice
from txtuntap.mistakes import checkKind, checkSeconds
from txtuntap.wire.address import linkAddressText, packLinkAddress

if TYPE_CHECKING:
    from txtuntap.interfaces import Reader
    from txtuntap.packet import Packet
    from txtuntap.wire.offload import Offload

#: The path of the helper's socket, unless another is given.
PATH = f"{runDirectory()}/txtuntap.sock"

#: The largest number of octets in a request or an answer. Each is one line of JSON.
MAX_LINE = 16384

#: The number of seconds between attempts to connect to a helper that is busy.
_RETRY = 0.02


def _ofPlatform(name: str) -> Any:
    """
    Make a property that is an attribute of the platform's device.
    """
    return property(lambda self: getattr(self._device, name), lambda self, value: setattr(self._device, name, value))


@implementer(IDevice)
class HelpedDevice:
    """
    A device that the helper opens for this program. The helper's rules say which user may have which interface. When
    the device is closed or the program has ended, the helper deletes the interface, or restores its former settings::

        TuntapPort("vpn0", host.ip, device=HelpedDevice("vpn0", TUN, InterfaceSettings(addresses=["10.9.0.1/24"])))

    The device below is one of this platform, on the descriptor that the helper has opened. Its further methods and
    attributes, such as C{setCarrier} on Linux, are those of this object, too.
    """

    name: str = _ofPlatform("name")
    mode: int = _ofPlatform("mode")
    mtu: int = _ofPlatform("mtu")
    linkAddress: bytes | None = _ofPlatform("linkAddress")
    offloads: int = _ofPlatform("offloads")

    def __init__(
        self,
        name: str | bytes,
        mode: int,
        settings: InterfaceSettings | None = None,
        path: str = PATH,
        timeout: float = 10.0,
    ) -> None:
        """
        @param name: the interface's name, at most 15 octets. It must match one of the helper's rules.
        @param mode: C{TUN} or C{TAP}.
        @param settings: the settings that the helper applies to the interface; C{None}: none.
        @param path: the path of the helper's socket.
        @param timeout: the number of seconds to wait for the helper's answer.

        @raise ValueError: C{name}, C{mode} or C{timeout} is not valid.
        @raise TypeError: C{settings} is not an L{InterfaceSettings}.
        """
        if settings is not None:
            checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.9.0.1/24'])")
        checkSeconds(timeout, "timeout")
        self._device: IDevice = makeDevice(name, mode)
        self._path = path
        self._timeout = timeout
        request = {"name": self.name, "mode": "tap" if mode == TAP else "tun", "settings": packSettings(settings)}
        self._request = json.dumps(request).encode() + b"\n"
        # The connection to the helper. It stays open while this program has the device; its end tells the helper to
        # take the device back.
        self._lease: socket.socket | None = None
        self._asking = threading.Lock()
        self._answer: dict[str, Any] = {}
        # The descriptor that the helper has sent, until open() passes it to the platform's device.
        self._descriptor: int | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "_device":
            # The constructor has failed.
            raise AttributeError(name)
        return getattr(self._device, name)

    def __enter__(self) -> HelpedDevice:
        if self.fileno() < 0:
            self.open()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HelpedDevice over {self._device!r}>"

    def ask(self, reactor: Any = None) -> Deferred[None]:
        """
        Ask the helper for the device without blocking. L{open} does not block after that. Without this call, L{open}
        asks the helper itself, and blocks until the answer has arrived.

        @param reactor: the reactor; C{None}: the installed one.

        @return: fires once the helper has opened the device; fails with C{OSError}, as L{open} does.
        """
        if reactor is None:
            from twisted.internet import reactor
        return deferToThreadPool(reactor, reactor.getThreadPool(), self._ask)

    def open(self, offload: bool | None = False) -> None:
        """
        Ask the helper for the device, unless L{ask} has, and attach to the interface.

        @raise OSError: there is no helper, the helper is busy, does not answer or refuses (C{EPERM}), or the kernel
            refuses. The text says which of these.
        """
        if self.fileno() >= 0:
            raise OSError(errno.EBUSY, f"{self.name} is open already")
        self._ask()
        try:
            self._device = makeDevice(self._answer["name"], self.mode, descriptor=self._descriptor)
            # The new device owns the descriptor.
            self._descriptor = None
            self._device.open(offload)
        except BaseException:
            self.close()
            raise
        # The helper's values count, because the interface may be in a network namespace that this process cannot enter.
        self.mtu = self._answer["mtu"]
        link = self._answer["linkAddress"]
        self.linkAddress = None if link is None else packLinkAddress(link)

    def close(self) -> None:
        """
        Detach from the interface, and give it back to the helper.
        """
        self._device.close()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()

    def fileno(self) -> int:
        """
        Return the descriptor: see L{IDevice.fileno}.
        """
        return self._device.fileno()

    def readable(self, callback: Callable[[], None] | None) -> None:
        """
        Set the callback for waiting packets: see L{IDevice.readable}.
        """
        self._device.readable(callback)

    def receiveFinished(self) -> None:
        """
        Have the other side finish its packets: see L{IDevice.receiveFinished}.
        """
        self._device.receiveFinished()

    def receive(self, maxPacketSize: int = LONGEST_PACKET) -> Packet | None:
        """
        Receive the next packet that is waiting: see L{IDevice.receive}.
        """
        return self._device.receive(maxPacketSize)

    def reader(self, maxPacketSize: int) -> Reader | None:
        """
        Return what a port needs to read packets itself: see L{IDevice.reader}.
        """
        return self._device.reader(maxPacketSize)

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet: see L{IDevice.send}.
        """
        return self._device.send(buffers, offload)

    def _ask(self) -> None:
        """
        Request the descriptor from the helper, unless this or another thread has received it already.
        """
        with self._asking:
            if self._lease is not None:
                return
            requireUNIX("the helper", "run this program as an administrator, with a device of its own")
            lease = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            descriptors: list[int] = []
            try:
                lease.settimeout(self._timeout)
                self._connect(lease)
                answer = self._conversation(lease, descriptors)
                if "error" in answer or not descriptors:
                    raise OSError(
                        answer.get("errno"), f"the helper at {self._path}: {answer.get('error', 'no descriptor')}"
                    )
            except BaseException:
                for each in descriptors:
                    os.close(each)
                lease.close()
                raise
            self._descriptor = descriptors[0]
            self._answer = answer
            self._lease = lease

    def _connect(self, lease: socket.socket) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                lease.connect(self._path)
            except BlockingIOError as e:
                # The listening socket's backlog is full. The kernel does not notify when it has room again.
                if time.monotonic() >= deadline:
                    raise OSError(errno.ETIMEDOUT, f"the helper at {self._path} is busy") from e
                time.sleep(_RETRY)
            except OSError as e:
                raise OSError(e.errno, f"there is no helper at {self._path}: {e.strerror}") from e
            else:
                return

    def _conversation(self, lease: socket.socket, descriptors: list[int]) -> dict[str, Any]:
        """
        Send the request to the helper, and receive the answer.

        @param descriptors: the list to which the received descriptor is added.

        @return: the answer.
        """
        try:
            with suppress(ConnectionError):
                # The helper refuses a user without any rule before it reads the request, and closes the connection.
                lease.sendall(self._request)
            line, received = receiveDescriptors(lease, MAX_LINE)
            descriptors += received
            while line and not line.endswith(b"\n"):
                more = lease.recv(MAX_LINE)
                line = line + more if more else b""
        except TimeoutError as e:
            raise OSError(errno.ETIMEDOUT, f"the helper at {self._path} has not answered in time") from e
        except OSError as e:
            raise OSError(e.errno, f"the connection to the helper at {self._path} is lost: {e.strerror}") from e
        if not line:
            raise OSError(errno.ECONNRESET, f"the helper at {self._path} has closed the connection")
        answer: dict[str, Any] = json.loads(line)
        return answer


def packSettings(settings: InterfaceSettings | None) -> dict[str, Any] | None:
    """
    Convert settings to the form in which they are sent to the helper as JSON. Settings that are C{None} or empty are
    left out.
    """
    if settings is None:
        return None
    fields = attrs.asdict(settings, filter=lambda _, value: value is not None)
    if settings.linkAddress is not None:
        fields["linkAddress"] = linkAddressText(settings.linkAddress)
    fields["neighbours"] = {ip: linkAddressText(station) for ip, station in settings.neighbours.items()}
    return {name: value for name, value in fields.items() if value not in ((), [], {})}
