"""
The record of a device's interface, kept as the kernel has it.
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


@attrs.frozen
class Whereabouts:
    """
    An interface, as an open descriptor tells it.

    @ivar name: what it is called now.
    @ivar linkAddress: that of a tap.
    @ivar namespace: the network namespace that it is in; L{None}: that takes privilege there.
    """

    name: str
    linkAddress: bytes | None
    namespace: NamespaceIdentity | None

    def isOf(self, state: InterfaceState) -> bool:
        """
        Whether an interface, of that namespace, is this one.
        """
        return state.name == self.name and self.linkAddress in (None, state.linkAddress)


class Following:
    """
    Keeps C{name}, C{mtu} and C{linkAddress} of an open device as the kernel has them.

    Each time a monitor says that the interface may be another, what it is is compared with what was known, and nothing
    is learnt from the difference that the monitor saw: so it is all the same whether that was started before or after
    the device was opened, whether it was told of each change or of several as one, and in which order they came. A
    device that can say where its interface is (C{whereabouts}) is asked each time, since names and numbers may be
    another interface's by now; and where that was moved to another network namespace, it is watched in there, as far as
    that is permitted.
    """

    _log = Logger()

    def __init__(self, device: IDevice, monitor: IMonitor, changed: Callable[[bool, bool], None]) -> None:
        """
        @param changed: called when anything is another, with whether the MTU is, and whether the link was set up.
        """
        self._device: Any = device
        self._changed = changed
        self._monitor = monitor
        self._unfollow: Callable[[], None] | None = None
        # Where the interface is, if not where it is watched.
        self._elsewhere: SharedMonitor | None = None
        # The namespace where it is, and may not be watched.
        self._barred: NamespaceIdentity | None = None
        # The monitor that knows it, and its number there.
        self._foundIn: IMonitor | None = None
        self._index = 0
        self._mtu = 0
        self._isUp = False

    def start(self) -> None:
        """
        Begin. C{changed} is not called for differences that are there already: its owner has seen none of the device's
        values yet.
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
        Follow no more. Stopping twice is harmless.
        """
        if self._unfollow is not None:
            self._unfollow()
            self._unfollow = None
        self._foundIn = None
        self._stopElsewhere()

    def _recheck(self, monitor: IMonitor, index: int | None) -> None:
        if index is not None and self._foundIn is monitor and index != self._index:
            # Another one: that is most of what a monitor has to say, and said to everybody.
            return
        state = self._find()
        if state is None:
            # It may have been moved on before its coming was heard, so it is sought at each event until it is found.
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
        The interface, as monitors know it. L{None}: they do not, or not yet, or it is gone.
        """
        ask = getattr(self._device, "whereabouts", None)
        try:
            where: Whereabouts | None = None if ask is None else ask()
        except OSError:
            # The interface is gone: the next read of the device says so.
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
                # The monitors that watch it are about to hear of it.
                return
            monitor = SharedMonitor(self._monitor.reactor, there)
            try:
                monitor.open()
            except OSError as e:
                self._barred = place
                self._log.info("{name} cannot be watched where it is now: {reason}", name=name, reason=e.strerror or e)
                return
        finally:
            os.close(there)
        self._stopElsewhere()
        self._elsewhere = monitor
        monitor.follow(lambda index: self._recheck(monitor, index))

        def failed(reason: Failure) -> None:
            self._log.info("{name} cannot be watched where it is now: {reason}", name=name, reason=reason.value)

        monitor.start().addErrback(failed)
        # Others may watch there already, who have heard of its coming.
        self._recheck(monitor, None)

    def _stopElsewhere(self) -> None:
        elsewhere, self._elsewhere = self._elsewhere, None
        if elsewhere is not None:
            elsewhere.stop()
