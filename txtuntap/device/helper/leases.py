"""
Leases of devices to programs. The helper makes or opens a device for a program and configures it. The helper takes the
device back when the program has closed it or has ended.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txtuntap.device import printable
from txtuntap.device.configure import Configured, configure
from txtuntap.device.helper.limits import LogLimit
from txtuntap.device.helper.permission import DeviceRequest, Peer, checkAvailable, irreversible
from txtuntap.device.platform import platformModule
from txtuntap.device.settings import InterfaceSettings, InterfaceState
from txtuntap.device.state import read
from txtuntap.interfaces import IDevice

if TYPE_CHECKING:
    from txtuntap.device.linux.namespace import Namespace

#: The number of attempts to open a device that other programs make and delete at the same time.
MAX_TRIES = 10


@attrs.define(eq=False)
class Lease:
    """
    A device that a program has received from the helper.

    @ivar peer: the program.
    @ivar configured: the interface, and the changes that were made to it.
    @ivar made: whether the helper has made the device for this program.
    @ivar kept: the device, which the helper has open until it takes the device back; C{None}: the helper has closed it.
    @ivar turn: the Deferred of the call that takes the device back, after the program's connection has ended. The call
        waits for its turn (L{Turns<txtuntap.device.helper.turns.Turns>}). C{None}: the connection is open.
    """

    peer: Peer
    configured: Configured
    made: bool
    kept: IDevice | None
    turn: Deferred[None] | None = None


class Leases:
    """
    The leases of all programs, including those that have ended and whose devices are not taken back yet.
    """

    _log = Logger("helper")

    def __init__(self, reactor: Any, node: str | None, namespace: Namespace | None, logLimit: LogLimit) -> None:
        """
        @param reactor: the reactor.
        @param node: the path of the device node to open; C{None}: the platform's own.
        @param namespace: the network namespace of the interfaces; C{None}: the namespace of this process.
        @param logLimit: the limit of the log lines that users cause.

        @raise OSError: this platform has no helper (C{ENOTSUP}).
        """
        self._platform = platformModule("leasing")
        self._reactor = reactor
        self._node = node
        self._namespace = namespace
        self._logLimit = logLimit
        # The leases by the index of the interface.
        self._leases: dict[int, Lease] = {}

    async def attach(self, peer: Peer, request: DeviceRequest) -> tuple[IDevice, InterfaceState | None]:
        """
        Open the device that a program requests, or make it if there is none.

        @return: the device; and the state of its interface before, or C{None} if the device was made.

        @raise OSError: the device cannot be opened, or another user or program has it.
        """
        for _ in range(MAX_TRIES):
            try:
                return self._open(request, True), None
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
            try:
                before = await read(request.name, self._reactor, self._namespace)
            except OSError as e:
                if e.errno != errno.ENODEV:
                    raise
                continue
            lease = self._leases.get(before.index)
            if lease is not None:
                await self._takeBackNow(lease)
                continue
            checkAvailable(before, peer, 0)
            device = self._open(request, False)
            try:
                after = await read(device.name, self._reactor, self._namespace)
                if after.index == before.index:
                    # Another program may have opened the device at the same time.
                    checkAvailable(after, peer, 1)
                    return device, before
            except BaseException:
                device.close()
                raise
            # The device that existed was deleted at the same time, so the kernel has made a new one. Closing its only
            # descriptor deletes the new device.
            device.close()
        raise OSError(errno.EBUSY, f"{request.name} is deleted and made again all the time: name another interface")

    async def grant(
        self, peer: Peer, device: IDevice, before: InterfaceState | None, settings: InterfaceSettings | None
    ) -> Lease:
        """
        Configure the interface of a device for a program, and record the lease.

        @param device: the device that L{attach} has returned.
        @param before: the state that L{attach} has returned.
        @param settings: the settings that the program requests; C{None}: none.

        @return: the lease, which is to be taken back in the end.

        @raise OSError: the kernel refuses, or the interface existed before and a setting could not be undone
            (C{EPERM}).
        """
        wanted = settings or InterfaceSettings(up=None)
        if self._platform.HARDENS:
            wanted = attrs.evolve(wanted, hardened=True)
        lost = None if before is None else irreversible(before, wanted)
        if lost is not None:
            raise OSError(errno.EPERM, f"the helper did not make {device.name}, and could not restore it: {lost}")
        configured = await configure(device.name, wanted, device, self._reactor)
        for change in configured.changes:
            if ".conf.all." in change:
                # This setting is about all interfaces and is not restored. The log informs the administrator.
                self._log.info("For {name}: {change}", name=printable(device.name), change=printable(change))
        kept = device if self._platform.KEEPS_OPEN else None
        lease = self._leases[configured.index] = Lease(peer, configured, before is None, kept)
        return lease

    async def takeBack(self, lease: Lease, isFree: bool = False) -> None:
        """
        Delete a device that the helper has made, or restore the settings of one that existed before.

        @param isFree: whether it is known that no program has the device; C{False}: find that out.

        @raise OSError: the kernel refused to delete or restore something.
        """
        configured = lease.configured
        self._leases.pop(configured.index, None)
        if lease.kept is not None:
            lease.kept.close()
        if not isFree and self._logLimit.allows(lease.peer.user, "ends of leases"):
            self._log.info("{name} is taken back", name=printable(configured.name))
        if lease.made:
            # Closing the descriptor may not suffice: a program with a descriptor can make the device persistent.
            conversation = self._platform.deleting(configured.index, configured.name)
            await platformModule("configure").ask(self._reactor, conversation, configured.namespace)
            return
        unused = None if isFree else await self._openUnused(configured)
        try:
            # A program may have kept the descriptor or passed it on. The interface then stays hardened, so that the
            # program's packets cannot change the kernel's configuration.
            await configured.restore(self._reactor, staysHardened=not isFree and unused is None)
        finally:
            if unused is not None:
                unused.close()

    async def _openUnused(self, configured: Configured) -> IDevice | None:
        """
        Open the device, if no program has it open. While it is open here, no program can open it.

        @return: the device; C{None}: a program has it open, or it was deleted.
        """
        try:
            state = await read(configured.name, self._reactor, self._namespace)
            if state.index != configured.index or state.queues:
                return None
            device: IDevice = self._platform.openUnused(state, self._node, self._namespace)
        except (OSError, ValueError):
            return None
        return device

    async def _takeBackNow(self, lease: Lease) -> None:
        """
        Take back the device of an ended program out of turn, so that another program can have it.

        @raise OSError: the program's connection is still open (C{EBUSY}).
        """
        if lease.turn is None:
            raise OSError(
                errno.EBUSY, f"{lease.configured.name} is in use: stop the program that uses it, or name another"
            )
        lease.turn.cancel()
        await self.takeBack(lease)

    def _open(self, request: DeviceRequest, isNew: bool) -> IDevice:
        device: IDevice = self._platform.makeLeased(request.name, request.mode, isNew, self._node, self._namespace)
        # Offload has to be enabled when the descriptor is attached. The program that receives the descriptor decides
        # whether to use offload.
        device.open(offload=None)
        try:
            self._platform.checkLeased(device)
        except BaseException:
            device.close()
            raise
        return device
