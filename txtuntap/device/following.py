"""
The name, MTU and link address of an open device, updated when its interface changes in the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import TAP, printable
from txtuntap.device.platform import platformModule
from txtuntap.device.settings import InterfaceState
from txtuntap.interfaces import IDevice

if TYPE_CHECKING:
    from txtuntap.device.interfaces import IMonitor
    from txtuntap.device.linux.namespace import NamespaceIdentity
    from txtuntap.device.monitor import SharedMonitor

_CANNOT_WATCH = "Cannot watch {name} in the network namespace that it was moved to: {reason}"


@attrs.frozen
class Whereabouts:
    """
    The identity and place of an interface, as the kernel reports them for an open descriptor.

    @ivar name: the interface's present name.
    @ivar linkAddress: the link address of a tap; C{None} for a tun.
    @ivar namespace: the network namespace of the interface; C{None}: the process has no privilege to find it out.
    """

    name: str
    linkAddress: bytes | None
    namespace: NamespaceIdentity | None

    def isOf(self, state: InterfaceState) -> bool:
        """
        Whether a state describes this interface. The state has to be from the same network namespace.
        """
        return state.name == self.name and self.linkAddress in (None, state.linkAddress)


class Following:
    """
    Keep C{name}, C{mtu} and C{linkAddress} of an open device equal to the kernel's values.

    Each time a monitor reports that the interface may have changed, the interface's present state is compared with the
    device. Only the interface's index is used from the monitor's report. So the result is the same whether the monitor
    was started before or after the device was opened, and whether it reported each change or several as one.

    If the device has a method C{whereabouts}, it is called each time, because a name or an index may belong to another
    interface by now. If the interface was moved to another network namespace, it is watched there, provided that the
    process is permitted to.
    """

    _log = Logger()

    def __init__(self, device: IDevice, monitor: IMonitor, changed: Callable[[bool, bool], None]) -> None:
        """
        @param device: the open device.
        @param monitor: the monitor of the network namespace that the device was opened in.
        @param changed: called after each update. Its arguments say whether the MTU has changed, and whether the link
            was set up.
        """
        self._device: Any = device
        self._changed = changed
        self._monitor = monitor
        self._unfollow: Callable[[], None] | None = None
        # The monitor of the namespace that the interface was moved to.
        self._elsewhere: SharedMonitor | None = None
        # The namespace that the interface was moved to, if the process is not permitted to watch it.
        self._barred: NamespaceIdentity | None = None
        # The monitor that knows the interface, and the interface's index there.
        self._foundIn: IMonitor | None = None
        self._index = 0
        self._mtu = 0
        self._isUp = False

    def start(self) -> None:
        """
        Set the device's values, and begin to follow the interface. C{changed} is not called for the first update,
        because the owner of the device has not read any of its values yet.
        """
        self._index = getattr(self._device, "index", 0)
        self._isUp = getattr(self._device, "up", True)
        state = self._find()
        if state is not None:
            self._apply(state)
        self._mtu = self._device.mtu
        self._unfollow = self._monitor.follow(lambda index: self._recheck(self._monitor, index))

    def stop(self) -> None:
        """
        Stop following the interface. Stopping twice is harmless.
        """
        if self._unfollow is not None:
            self._unfollow()
            self._unfollow = None
        self._foundIn = None
        self._stopElsewhere()

    def _recheck(self, monitor: IMonitor, index: int | None) -> None:
        if index is not None and self._foundIn is monitor and index != self._index:
            # The report is about another interface, as most are, because each follower receives all reports.
            return
        state = self._find()
        if state is None:
            # The interface may have been moved a second time before a monitor reported the first move. So every report
            # leads to a search until the interface is found.
            self._foundIn = None
            self._watchElsewhere()
            return
        self._barred = None
        if self._foundIn is self._monitor:
            self._stopElsewhere()
        isUp, self._isUp = self._isUp, state.up
        self._apply(state)
        mtu, self._mtu = self._mtu, state.mtu
        self._changed(mtu != state.mtu, state.up and not isUp)

    def _apply(self, state: InterfaceState) -> None:
        device = self._device
        device.name = state.name
        device.mtu = state.mtu
        if device.mode == TAP:
            device.linkAddress = state.linkAddress
        self._isUp = state.up

    def _find(self) -> InterfaceState | None:
        """
        Find the interface among those that the monitors know.

        @return: its state; C{None}: no monitor knows the interface, or it was deleted.
        """
        ask = getattr(self._device, "whereabouts", None)
        try:
            where: Whereabouts | None = None if ask is None else ask()
        except OSError:
            # The interface was deleted. The next read from the device reports that to the port.
            return None
        for monitor in self._monitor, self._elsewhere:
            if monitor is None:
                continue
            if where is not None and None not in (where.namespace, monitor.place) and where.namespace != monitor.place:
                continue
            known = monitor.interfaces.get(self._index)
            if known is None or (where is not None and not where.isOf(known)):
                here = Whereabouts(self._device.name, None, None) if where is None else where
                known = next((state for state in monitor.interfaces.values() if here.isOf(state)), None)
            if known is not None:
                self._foundIn, self._index = monitor, known.index
                return known
        return None

    def _watchElsewhere(self) -> None:
        """
        Watch the interface in the network namespace that it was moved to.
        """
        from txtuntap.device.monitor import SharedMonitor

        name = printable(self._device.name)
        enter = getattr(self._device, "openNamespace", None)
        there = None if enter is None else enter()
        if there is None:
            return
        try:
            place = platformModule("monitor").identify(there)
            watched = [each.place for each in (self._monitor, self._elsewhere) if each is not None]
            if place in watched or (place is not None and place == self._barred):
                # A monitor watches this namespace already, and is about to report the interface. Or the process is not
                # permitted to watch this namespace.
                return
            monitor = SharedMonitor(self._monitor.reactor, there)
            try:
                monitor.open()
            except OSError as e:
                self._barred = place
                self._log.info(_CANNOT_WATCH, name=name, reason=e.strerror or e)
                return
        finally:
            os.close(there)
        self._stopElsewhere()
        self._elsewhere = monitor
        monitor.follow(lambda index: self._recheck(monitor, index))

        def failed(reason: Failure) -> None:
            self._log.info(_CANNOT_WATCH, name=name, reason=reason.value)

        monitor.start().addErrback(failed)
        # The monitor may have been started before by another share. Then it has reported the interface's arrival
        # already.
        self._recheck(monitor, None)

    def _stopElsewhere(self) -> None:
        elsewhere, self._elsewhere = self._elsewhere, None
        if elsewhere is not None:
            elsewhere.stop()
