"""
The helper: the one thing to run as root. It opens TUN and TAP devices for programs that may not, sets their interfaces,
and hands over the descriptors.

    python -I -m txtuntap.device.helper --allow 'alice:vpn*' --allow @dns:dns0:10.9.0.0/16,fd09::/64

(C{-I}, so that it runs no modules of the directory that it is started in.)

Who asks is told by the kernel. A program has its device for as long as its connection is open: then the helper deletes
what it has made, and undoes what it has set on a device that was there.

L{HelpedDevice<txtuntap.device.helper.device.HelpedDevice>} is the other side. A request is one line of JSON, and so is
the answer, with which the descriptor comes.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IFileDescriptorReceiver, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import react
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.device import TAP, TUN, printable
from txtuntap.device.configure import Configured, configure
from txtuntap.device.helper.descriptors import sendDescriptor
from txtuntap.device.helper.device import MAX_LINE, PATH
from txtuntap.device.helper.permission import Asked, Peer, Rule, checkWhose, irreversible
from txtuntap.device.helper.turns import Turns
from txtuntap.device.linux.clockstep import followClock
from txtuntap.device.linux.device import NODE, LinuxDevice
from txtuntap.device.linux.namespace import Namespace
from txtuntap.device.linux.netlink import Conversation, ask, delete
from txtuntap.device.settings import InterfaceSettings, InterfaceState
from txtuntap.device.state import read
from txtuntap.layer.timer import Timer
from txtuntap.shutdown import endOnHangUp
from txtuntap.wire.address import linkAddressText

#: Seconds that a request may take to come.
TIMEOUT = 10

#: The most connections: of all, and of one user. Each may hold a device.
MAX_CONNECTIONS = 256
MAX_OF_USER = 32

#: Lines of one kind and about one user, in a second, that are logged one by one; and the most octets of a reason.
MAX_LOGGED = 3
MAX_REASON = 200

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


class LogLimit:
    """
    Lines of the log that users cause: a few a second of each kind and for each user, and the rest is counted. Whoever
    may connect could fill the disk.
    """

    _log = Logger("helper")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # How many lines there would have been in this second.
        self._counts: Counter[tuple[int | None, str]] = Counter()

    def allows(self, user: int | None, kind: str) -> bool:
        """
        Count a line.

        @param user: the user number; L{None}: all users that no rule is about.
        @param kind: what such lines are about, as a plural.

        @return: whether to log it.
        """
        key = user, kind
        self._counts[key] += 1
        if self._counts[key] == 1:
            Timer(self._clock, self._ended, key).arm(1)
        return self._counts[key] <= MAX_LOGGED

    def _ended(self, key: tuple[int | None, str]) -> None:
        more = self._counts.pop(key) - MAX_LOGGED
        user, kind = key
        if more > 0:
            whose = "users in no rule" if user is None else f"user {user}"
            self._log.info("{more} more {kind} of {whose}", more=more, kind=kind, whose=whose)


def excerpt(text: str) -> str:
    """
    The beginning of a text that another program has a hand in, for the log and for a terminal: in ASCII, without
    control characters.
    """
    return text.encode("unicode_escape").decode()[:MAX_REASON]


@implementer(IFileDescriptorReceiver)
class HelperProtocol(LineOnlyReceiver):
    """
    One connection: a request, its answer, and then nothing until its end.
    """

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE

    _log = Logger("helper")

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self._peer: Peer | None = None
        self._asked = False
        self._gone = False
        self._lease: Lease | None = None
        # Its place among the requests that wait for their turn, and whether that has come.
        self._place: Deferred[None] | None = None
        self._isServed = False
        self._timer = Timer(helper.reactor, self._late)

    def connectionMade(self) -> None:
        """
        Who is it?
        """
        peer = Peer.of(self.transport.socket)
        if not self._helper.knows(peer):
            # At once, whatever is asked for: connections are for others.
            if self._helper.logLimit.allows(None, "refusals"):
                self._log.info("{peer} is in no rule", peer=peer)
            self._refuse(errno.EPERM, f"user {peer.user} is in no rule")
        elif self._helper.enters(peer):
            self._peer = peer
            self._timer.arm(TIMEOUT)
        else:
            self._abort()

    def _late(self) -> None:
        """
        End a connection whose request does not come.
        """
        self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        """
        A request.
        """
        if self._asked or self._peer is None or self._helper.stopping:
            self._abort()
            return
        self._asked = True
        self._timer.stop()
        self._place = self._helper.turns.take(self._peer.user, self._serve, line, self._peer)
        self._place.addErrback(self._failed, self._peer)

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        That is no request.
        """
        self._abort()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        Nobody asked for one.
        """
        os.close(descriptor)
        self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The device comes back.
        """
        self._gone = True
        self._timer.stop()
        peer, place, lease = self._peer, self._place, self._lease
        if peer is None:
            return
        self._helper.leaves(peer)
        if lease is not None and not self._helper.stopping:
            lease.place = self._helper.turns.take(peer.user, self._takeBack, lease)
            lease.place.addErrback(self._failed, peer)
        elif place is not None and not self._isServed:
            # Requests of programs that have gone would pile up.
            place.cancel()

    def _serve(self, line: bytes, peer: Peer) -> Deferred[None]:
        self._isServed = True
        return Deferred.fromCoroutine(self._answer(line, peer))

    async def _answer(self, line: bytes, peer: Peer) -> None:
        try:
            asked = Asked.of(line)
            device, lease, rule = await self._helper.open(peer, asked)
        except Exception as e:
            # Whatever it is that we did not think of, who has asked for it is told, and nobody else is disturbed.
            known = isinstance(e, OSError | ValueError)
            reason = excerpt((getattr(e, "strerror", None) or str(e)) if known else f"that cannot be set: {e!r}")
            if self._helper.logLimit.allows(peer.user, "refusals"):
                self._log.info("{peer} is refused: {reason}", peer=peer, reason=reason)
            self._refuse(getattr(e, "errno", None) or errno.EINVAL, reason)
            return
        with device:
            link = None if device.linkAddress is None else linkAddressText(device.linkAddress)
            answer = json.dumps({"name": device.name, "mtu": device.mtu, "linkAddress": link}).encode() + b"\n"
            try:
                if self._gone:
                    raise OSError(errno.ECONNRESET, "the program has gone")
                # Nothing was written before, so there is room. Twisted's own call would have to keep our descriptor.
                sendDescriptor(self.transport.socket, device.fileno(), answer)
            except OSError:
                # No program has it.
                await self._helper.takeBack(lease, isFree=True)
                self._abort()
                return
        self._lease = lease
        if self._helper.logLimit.allows(peer.user, "leases"):
            self._log.info("{peer} has {name}, by {rule}", peer=peer, name=printable(device.name), rule=rule)

    def _refuse(self, number: int | None, reason: str) -> None:
        self.transport.write(json.dumps({"errno": number, "error": reason}).encode() + b"\n")
        self.transport.loseConnection()

    def _takeBack(self, lease: Lease) -> Deferred[None]:
        return Deferred.fromCoroutine(self._helper.takeBack(lease))

    def _failed(self, reason: Failure, peer: Peer) -> None:
        if not reason.check(CancelledError) and self._helper.logLimit.allows(peer.user, "failures"):
            self._log.failure("The helper has failed", reason)
        self._abort()

    def _abort(self) -> None:
        self.transport.abortConnection()


class Helper(Factory):
    """
    What all connections share.

    @ivar turns: one thing is done at a time, so that what is taken back has gone before it is asked for again. Users
        take turns, so that none waits for all that another one asks for.
    @ivar logLimit: how much of it is logged.
    @ivar stopping: whether this process ends. Programs go on with what they have.
    """

    noisy = False

    _log = Logger("helper")

    def __init__(
        self,
        rules: Sequence[Rule],
        reactor: Any,
        node: str | bytes = NODE,
        namespace: Namespace | None = None,
    ) -> None:
        """
        @param rules: the first that lets somebody have an interface counts.
        @param node: what is opened.
        @param namespace: the network namespace that the interfaces are in; L{None}: this one.
        """
        self._rules = rules
        self.reactor = reactor
        self._node = node
        self._namespace = namespace
        self._connections: Counter[int] = Counter()
        # Devices that programs have, and those that are not taken back yet, by the numbers of their interfaces.
        self._leases: dict[int, Lease] = {}
        self.turns = Turns()
        self.logLimit = LogLimit(reactor)
        self.stopping = False
        reactor.addSystemEventTrigger("before", "shutdown", self._stop)

    def buildProtocol(self, addr: IAddress | None) -> HelperProtocol:
        """
        Somebody has connected.
        """
        return HelperProtocol(self)

    def knows(self, peer: Peer) -> bool:
        """
        Whether any rule is about somebody.
        """
        return any(rule.isAbout(peer) for rule in self._rules)

    def enters(self, peer: Peer) -> bool:
        """
        Take note of a connection, if there is room for it.
        """
        connections = self._connections
        if connections.total() >= MAX_CONNECTIONS or connections[peer.user] >= MAX_OF_USER:
            return False
        connections[peer.user] += 1
        return True

    def leaves(self, peer: Peer) -> None:
        """
        A connection has ended.
        """
        self._connections[peer.user] -= 1
        if not self._connections[peer.user]:
            del self._connections[peer.user]

    def ruleFor(self, peer: Peer, asked: Asked, given: str | None = None) -> Rule:
        """
        @param given: what the interface is called; L{None}: that is not known yet.

        @raise OSError: what is asked for is not allowed (C{EPERM}).
        """
        reason = f"user {peer.user} may not have {given or asked.name!r}"
        for rule in self._rules:
            if rule.isFor(peer, asked.name, given):
                refused = None if asked.settings is None else rule.refused(asked.settings)
                if refused is None:
                    return rule
                reason = f"{asked.name}: {refused}"
        raise OSError(errno.EPERM, reason)

    async def open(self, peer: Peer, asked: Asked) -> tuple[LinuxDevice, Lease, Rule]:
        """
        Make or open a device, and set its interface.

        @return: the device, open; what is to be taken back; and the rule that allows it.

        @raise OSError: it is not allowed (C{EPERM}), or cannot be; nothing of it is left.
        """
        self.ruleFor(peer, asked)
        device, before = await self._opened(peer, asked)
        try:
            # With a number in place of %d, it may be one that the rule leaves out.
            rule = self.ruleFor(peer, asked, device.name)
            settings = attrs.evolve(asked.settings or InterfaceSettings(up=None), hardened=True)
            lost = None if before is None else irreversible(before, settings)
            if lost is not None:
                raise OSError(errno.EPERM, f"{device.name} was there before: {lost}")
            configured = await configure(device.name, settings, device, self.reactor)
        except BaseException:
            device.close()
            raise
        for change in configured.changes:
            if ".conf.all." in change:
                # This setting is the machine's, and stays, so its administrator finds it in the log.
                self._log.info("For {name}: {change}", name=printable(device.name), change=printable(change))
        lease = self._leases[configured.index] = Lease(peer, configured, before is None)
        return device, lease, rule

    async def takeBack(self, lease: Lease, isFree: bool = False) -> None:
        """
        Delete a device that was made, or undo what was set on one that was there.

        @param isFree: whether no program has it; L{False}: that is to be found out.

        @raise OSError: the kernel refused some of it.
        """
        configured = lease.configured
        self._leases.pop(configured.index, None)
        if not isFree and self.logLimit.allows(lease.peer.user, "ends of leases"):
            self._log.info("{name} is taken back", name=printable(configured.name))
        if lease.made:
            # The program may have made it stay: whoever holds a descriptor can.
            await ask(self.reactor, _deleting(configured.index, configured.name), configured.namespace)
            return
        held = None if isFree else await self._held(configured)
        try:
            # A program that has kept the descriptor, or passed it on, would have its packets believed.
            await configured.undo(self.reactor, staysHardened=not isFree and held is None)
        finally:
            if held is not None:
                held.close()

    async def _held(self, configured: Configured) -> LinuxDevice | None:
        """
        The device, open here, so that no program is on it; L{None} if one is.
        """
        try:
            state = await read(configured.name, self.reactor, self._namespace)
            if state.index != configured.index or state.queues:
                return None
            mode = TAP if state.kind == "tap" else TUN
            device = LinuxDevice(state.name, mode, node=self._node, namespace=self._namespace)
            device.openAsItIs(state)
        except (OSError, ValueError):
            return None
        return device

    async def _opened(self, peer: Peer, asked: Asked) -> tuple[LinuxDevice, InterfaceState | None]:
        """
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
                before = await read(asked.name, self.reactor, self._namespace)
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
                after = await read(device.name, self.reactor, self._namespace)
                if after.index == before.index:
                    # Somebody may have been faster.
                    checkWhose(after, peer, 1)
                    return device, before
            except BaseException:
                device.close()
                raise
            # The one that was there has gone just now, and this one was made: nobody would take it back.
            device.close()
        raise OSError(errno.EBUSY, f"{asked.name} comes and goes")

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

    def _stop(self) -> Any:
        self.stopping = True
        # What is under way comes to its end.
        return self.turns.whenIdle()


def _deleting(index: int, name: str) -> Conversation[None]:
    try:
        yield delete("link", f"delete {name}", index=index)
    except OSError as e:
        if e.errno != errno.ENODEV:
            raise


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Be the helper, until the process is told to end: by SIGINT, SIGTERM or SIGHUP.
    """
    parser = argparse.ArgumentParser(
        prog="python -I -m txtuntap.device.helper",
        description="Open TUN and TAP devices for programs without privilege, and set their interfaces.",
    )
    parser.add_argument(
        "--allow",
        action="append",
        required=True,
        type=_rule,
        metavar="WHO:NAMES[:NETWORKS]",
        help="a user, or @group; patterns of interface names, with commas between; networks that addresses and routes"
        " may be in. As often as needed",
    )
    parser.add_argument(
        "--listen", default=f"unix:{PATH}:mode=666", help="where: a server endpoint of Twisted's (%(default)s)"
    )
    parser.add_argument(
        "--netns", help="the network namespace of the interfaces (takes CAP_SYS_ADMIN); by default, this one"
    )
    parser.add_argument("--node", default=os.fsdecode(NODE), help="the device node (%(default)s)")
    options = parser.parse_args(arguments)
    endOnHangUp()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)

    async def serve(reactor: Any) -> None:
        followClock(reactor)
        helper = Helper(options.allow, reactor, options.node, options.netns)
        try:
            await serverFromString(reactor, options.listen).listen(helper)
        except (CannotListenError, LookupError, OSError, ValueError) as e:
            sys.exit(f"cannot listen at {options.listen}: {e}")
        Logger("helper").info("Listening at {where}", where=options.listen)
        await Deferred()

    react(lambda reactor: Deferred.fromCoroutine(serve(reactor)))


def _rule(text: str) -> Rule:
    try:
        return Rule.of(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
