"""
Devices that the helper (L{txtuntap.device.helper}) opens and sets, for a program without privilege.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from txtuntap.device import TAP
from txtuntap.device.helper.descriptors import receiveDescriptors
from txtuntap.device.linux.device import LinuxDevice
from txtuntap.device.settings import InterfaceSettings
from txtuntap.mistakes import checkKind, checkSeconds
from txtuntap.wire.address import linkAddressText, packLinkAddress

#: Where the helper listens, if it is not told otherwise.
PATH = "/run/txtuntap.sock"

#: The most octets of a request or an answer, each a line of JSON.
MAX_LINE = 16384

#: Seconds between tries to reach a helper that is busy.
_RETRY = 0.02


class HelpedDevice(LinuxDevice):
    """
    A device that the helper opens. It is the helper's to say who may have which, and to take away, when this is closed
    or the program has ended, what it has made and set.

        TuntapPort("vpn0", host.ip, device=HelpedDevice("vpn0", TUN, InterfaceSettings(addresses=["10.9.0.1/24"])))
    """

    def __init__(
        self,
        name: str | bytes,
        mode: int,
        settings: InterfaceSettings | None = None,
        path: str = PATH,
        timeout: float = 10.0,
    ) -> None:
        """
        @param name: of at most 15 bytes; what is allowed, the helper says.
        @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
        @param settings: what the helper is to make of the interface; L{None}: it is left as it is.
        @param path: of the helper's socket.
        @param timeout: seconds to wait for its answer.

        @raise ValueError: C{name}, C{mode} or C{timeout} is none.
        @raise TypeError: C{settings} are none.
        """
        if settings is not None:
            checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.9.0.1/24'])")
        checkSeconds(timeout, "timeout")
        super().__init__(name, mode)
        self._path = path
        self._timeout = timeout
        request = {"name": self.name, "mode": "tap" if mode == TAP else "tun", "settings": packSettings(settings)}
        self._request = json.dumps(request).encode() + b"\n"
        # Open for as long as we have the device: its end is how the helper knows.
        self._lease: socket.socket | None = None
        self._asking = threading.Lock()
        self._answer: dict[str, Any] = {}

    def ask(self, reactor: Any = None) -> Deferred[None]:
        """
        Have the helper open the device, without waiting for it: C{open}, which L{TuntapPort<txtuntap.TuntapPort>}
        calls, then has it at once. Who does not call this, waits there.

        @return: fires once the device is there; fails with C{OSError}, as C{open} does.
        """
        if reactor is None:
            from twisted.internet import reactor
        return deferToThreadPool(reactor, reactor.getThreadPool(), self._ask)

    def open(self, offload: bool | None = False) -> None:
        """
        Have the device from the helper.

        @raise OSError: there is no helper, it is busy, it refuses (C{EPERM}), or the kernel does; the text says which.
        """
        wasOpen = self.fileno() >= 0
        self._ask()
        try:
            super().open(offload)
        except BaseException:
            if not wasOpen:
                self.close()
            raise
        # The interface may be in another network namespace, where we cannot look.
        self.mtu = self._answer["mtu"]
        link = self._answer["linkAddress"]
        self.linkAddress = None if link is None else packLinkAddress(link)

    def close(self) -> None:
        """
        Let go of the interface.
        """
        super().close()
        descriptor, self._adopted = self._adopted, None
        if descriptor is not None:
            os.close(descriptor)
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()

    def _ask(self) -> None:
        """
        Have the descriptor. Who asks again, in this thread or another, has it already.
        """
        with self._asking:
            if self._lease is not None:
                return
            lease = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                lease.settimeout(self._timeout)
                self._connect(lease)
                answer, descriptors = self._conversation(lease)
                if "error" in answer or not descriptors:
                    for each in descriptors:
                        os.close(each)
                    raise OSError(
                        answer.get("errno"), f"the helper at {self._path}: {answer.get('error', 'no descriptor')}"
                    )
            except BaseException:
                lease.close()
                raise
            self._adopted = descriptors[0]
            self._answer = answer
            self._lease = lease

    def _connect(self, lease: socket.socket) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                lease.connect(self._path)
            except BlockingIOError as e:
                # As many wait for it as may. The kernel does not say when there is room.
                if time.monotonic() >= deadline:
                    raise OSError(errno.ETIMEDOUT, f"the helper at {self._path} is busy") from e
                time.sleep(_RETRY)
            except OSError as e:
                raise OSError(e.errno, f"there is no helper at {self._path}: {e.strerror}") from e
            else:
                return

    def _conversation(self, lease: socket.socket) -> tuple[dict[str, Any], list[int]]:
        try:
            with suppress(ConnectionError):
                # To whom no rule is about, it says so before it is asked.
                lease.sendall(self._request)
            line, descriptors = receiveDescriptors(lease, MAX_LINE)
            while line and not line.endswith(b"\n"):
                more = lease.recv(MAX_LINE)
                line = line + more if more else b""
        except TimeoutError as e:
            raise OSError(errno.ETIMEDOUT, f"the helper at {self._path} has not answered in time") from e
        except OSError as e:
            raise OSError(e.errno, f"the helper at {self._path} is lost: {e.strerror}") from e
        if not line:
            raise OSError(errno.ECONNRESET, f"the helper at {self._path} has closed the connection")
        return json.loads(line), descriptors


def packSettings(settings: InterfaceSettings | None) -> dict[str, Any] | None:
    """
    Settings as JSON has them: what is L{None} is left out.
    """
    if settings is None:
        return None
    fields = attrs.asdict(settings, filter=lambda _, value: value is not None)
    if settings.linkAddress is not None:
        fields["linkAddress"] = linkAddressText(settings.linkAddress)
    fields["neighbours"] = {ip: linkAddressText(station) for ip, station in settings.neighbours.items()}
    return {name: value for name, value in fields.items() if value not in ((), [], {})}
