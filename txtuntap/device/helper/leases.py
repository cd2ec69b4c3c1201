"""
Leases: the devices that programs have from the helper, made or opened, configured, and taken back.
"""

from __future__ import annotations

import errno
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txtuntap.device import TAP, TUN, printable
from txtuntap.device.configure import Configured, configure
from txtuntap.device.helper.limits import LogLimit
from txtuntap.device.helper.permission import Asked, Peer, checkWhose, irreversible
from txtuntap.device.linux.device import LinuxDevice
from txtuntap.device.linux.namespace import Namespace
from txtuntap.device.linux.netlink import Conversation, ask, delete
from txtuntap.device.settings import InterfaceSettings, InterfaceState
from txtuntap.device.state import read

#: How often to look again at a device that is made and deleted all the time.
MAX_TRIES = 10


@attrs.define(eq=False)
class Lease:
    """
    A device that a program has.

    @ivar peer: the program.
    @ivar configured: what was set; it knows the interface.
    @ivar made: whether the device was made for that.
    @ivar place: when the connection has ended, the place of taking it back among what waits for its turn.
    """

    peer: Peer
    configured: Configured
    made: bool
    place: Deferred[None] | None = None


class Leases:
    """
    The devices that programs have, and those that are not taken back yet.
    """

    _log = Logger("helper")

    def __init__(self, reactor: Any, node: str | bytes, namespace: Namespace | None, logLimit: LogLimit) -> None:
        """
        @param node: what is opened.
        @param namespace: the network namespace that the interfaces are in; L{None}: this one.
        @param logLimit: how much of it is logged.
        """
        self._reactor = reactor
        self._node = node
        self._namespace = namespace
        self._logLimit = logLimit
        # By the numbers of their interfaces.
        self._leases: dict[int, Lease] = {}

    async def attach(self, peer: Peer, asked: Asked) -> tuple[LinuxDevice, InterfaceState | None]:
        """
        Make or open the device that is asked for.

        @return: the device; and what its interface was before, or L{None} if it was made.

        @raise OSError: it cannot be opened, or is another's.
        """
        for _ in range(MAX_TRIES):
            try:
                return self._attached(asked, True), None
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
            try:
                before = await read(asked.name, self._reactor, self._namespace)
            except OSError as e:
                if e.errno != errno.ENODEV:
                    raise
                continue
            lease = self._leases.get(before.index)
            if lease is not None:
                await self._end(lease)
                continue
            checkWhose(before, peer, 0)
            device = self._attached(asked, False)
            try:
                after = await read(device.name, self._reactor, self._namespace)
                if after.index == before.index:
                    # Another program may have been faster.
                    checkWhose(after, peer, 1)
                    return device, before
            except BaseException:
                device.close()
                raise
            # The one that was there has gone just now, and this one was made: nobody would take it back.
            device.close()
        raise OSError(errno.EBUSY, f"{asked.name} comes and goes")

    async def grant(
        self, peer: Peer, device: LinuxDevice, before: InterfaceState | None, settings: InterfaceSettings | None
    ) -> Lease:
        """
        Configure the interface of a device for a program.

        @param device: the device of L{attach}, and C{before}, too.
        @param settings: what is asked for; L{None}: nothing.

        @return: what is to be taken back.

        @raise OSError: the kernel refuses, or the settings could not be restored (C{EPERM}).
        """
        wanted = attrs.evolve(settings or InterfaceSettings(up=None), hardened=True)
        lost = None if before is None else irreversible(before, wanted)
        if lost is not None:
            raise OSError(errno.EPERM, f"{device.name} was there before: {lost}")
        configured = await configure(device.name, wanted, device, self._reactor)
        for change in configured.changes:
            if ".conf.all." in change:
                # This setting is the machine's, and stays, so its administrator finds it in the log.
                self._log.info("For {name}: {change}", name=printable(device.name), change=printable(change))
        lease = self._leases[configured.index] = Lease(peer, configured, before is None)
        return lease

    async def takeBack(self, lease: Lease, isFree: bool = False) -> None:
        """
        Delete a device that was made, or restore what was set on one that was there.

        @param isFree: whether no program has it; L{False}: that is to be found out.

        @raise OSError: the kernel refused some of it.
        """
        configured = lease.configured
        self._leases.pop(configured.index, None)
        if not isFree and self._logLimit.allows(lease.peer.user, "ends of leases"):
            self._log.info("{name} is taken back", name=printable(configured.name))
        if lease.made:
            # The program may have made it stay: whoever holds a descriptor can.
            await ask(self._reactor, _deleting(configured.index, configured.name), configured.namespace)
            return
        held = None if isFree else await self._held(configured)
        try:
            # A program that has kept the descriptor, or passed it on, would have its packets believed.
            await configured.restore(self._reactor, staysHardened=not isFree and held is None)
        finally:
            if held is not None:
                held.close()

    async def _held(self, configured: Configured) -> LinuxDevice | None:
        """
        The device, open here, so that no program is on it; L{None} if one is.
        """
        try:
            state = await read(configured.name, self._reactor, self._namespace)
            if state.index != configured.index or state.queues:
                return None
            mode = TAP if state.kind == "tap" else TUN
            device = LinuxDevice(state.name, mode, node=self._node, namespace=self._namespace)
            device.openAsItIs(state)
        except (OSError, ValueError):
            return None
        return device

    async def _end(self, lease: Lease) -> None:
        """
        Take back a device that waits for it, before it is given to another program.

        @raise OSError: a program has it (C{EBUSY}), if only as something that stays.
        """
        if lease.place is None:
            raise OSError(
                errno.EBUSY, f"{lease.configured.name} is in use: stop that program, or name another interface"
            )
        lease.place.cancel()
        await self.takeBack(lease)

    def _attached(self, asked: Asked, exclusive: bool) -> LinuxDevice:
        device = LinuxDevice(asked.name, asked.mode, exclusive=exclusive, node=self._node, namespace=self._namespace)
        # Only who attaches a descriptor can have offload on it. Whether it is used says who gets it.
        device.open(offload=None)
        return device


def _deleting(index: int, name: str) -> Conversation[None]:
    try:
        yield delete("link", f"delete {name}", index=index)
    except OSError as e:
        if e.errno != errno.ENODEV:
            raise
