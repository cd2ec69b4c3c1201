"""
The helper: the one thing to run as root. It opens TUN and TAP devices for programs that may not, sets their interfaces,
and hands over the descriptors.

    python -I -m txtuntap.device.helper --allow 'alice:vpn*' --allow @dns:dns0:10.9.0.0/16,fd09::/64

(C{-I}, so that it runs no modules of the directory that it is started in.)

The kernel tells who asks. A program has its device for as long as its connection is open: then the helper deletes
what it has made, and restores what it has set on a device that was there.

L{HelpedDevice<txtuntap.device.helper.device.HelpedDevice>} is the other side. A request is one line of JSON, and so is
the answer, with which the descriptor comes.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import react
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.device import printable
from txtuntap.device.helper.descriptors import sendDescriptor
from txtuntap.device.helper.device import MAX_LINE
from txtuntap.device.helper.leases import Lease, Leases
from txtuntap.device.helper.limits import LogLimit, excerpt
from txtuntap.device.helper.options import parsed
from txtuntap.device.helper.permission import Asked, Peer, Rule
from txtuntap.device.helper.turns import Turns
from txtuntap.device.linux.clockstep import followClock
from txtuntap.device.linux.device import NODE, LinuxDevice
from txtuntap.device.linux.namespace import Namespace
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.timer import Timer
from txtuntap.shutdown import endOnHangUp
from txtuntap.wire.address import linkAddressText

#: Seconds that a request may take to come.
TIMEOUT = 10

#: The most connections: of all, and of one user. Each may hold a device.
MAX_CONNECTIONS = 256
MAX_OF_USER = 32

#: The most calls of one user that wait: a request of each connection, and a device of each one that has ended.
MAX_TURNS = 2 * MAX_OF_USER


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
        Find out who has connected.
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
        Close the connection, because this is no request.
        """
        self._abort()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        Close the descriptor and the connection, because none was asked for.
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
                await self._helper.leases.takeBack(lease, isFree=True)
                self._abort()
                return
        self._lease = lease
        if self._helper.logLimit.allows(peer.user, "leases"):
            self._log.info("{peer} has {name}, by {rule}", peer=peer, name=printable(device.name), rule=rule)

    def _refuse(self, number: int | None, reason: str) -> None:
        self.transport.write(json.dumps({"errno": number, "error": reason}).encode() + b"\n")
        self.transport.loseConnection()

    def _takeBack(self, lease: Lease) -> Deferred[None]:
        return Deferred.fromCoroutine(self._helper.leases.takeBack(lease))

    def _failed(self, reason: Failure, peer: Peer) -> None:
        if not reason.check(CancelledError) and self._helper.logLimit.allows(peer.user, "failures"):
            self._log.failure("The helper has failed", reason)
        self._abort()

    def _abort(self) -> None:
        self.transport.abortConnection()


class Helper(Factory):
    """
    The rules, turns and leases that all connections share.

    @ivar turns: one thing is done at a time, so that what is taken back has gone before it is asked for again. Users
        take turns, so that none waits for all that another one asks for.
    @ivar logLimit: how much of it is logged.
    @ivar leases: the devices that programs have.
    @ivar stopping: whether this process ends. Programs go on with what they have.
    """

    noisy = False

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
        self._connections: Counter[int] = Counter()
        self.turns = Turns()
        self.logLimit = LogLimit(reactor)
        self.leases = Leases(reactor, node, namespace, self.logLimit)
        self.stopping = False
        reactor.addSystemEventTrigger("before", "shutdown", self._stop)

    def buildProtocol(self, addr: IAddress | None) -> HelperProtocol:
        """
        Make the protocol of a connection.
        """
        return HelperProtocol(self)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        connections = self._connections
        ofUser = max(connections.values(), default=0)
        return [
            TableState("helper connections of a user", ofUser, MAX_OF_USER, Policy.REFUSE.value),
            TableState("helper connections", connections.total(), MAX_CONNECTIONS, Policy.REFUSE.value),
            TableState("helper turns of a user", self.turns.mostWaiting, MAX_TURNS, "there are no more"),
            *self.logLimit.tables(),
        ]

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
        device, before = await self.leases.attach(peer, asked)
        try:
            # With a number in place of %d, it may be one that the rule leaves out.
            rule = self.ruleFor(peer, asked, device.name)
            lease = await self.leases.grant(peer, device, before, asked.settings)
        except BaseException:
            device.close()
            raise
        return device, lease, rule

    def _stop(self) -> Any:
        self.stopping = True
        # A call that has begun comes to its end.
        return self.turns.whenIdle()


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Be the helper, until the process is told to end: by SIGINT, SIGTERM or SIGHUP.
    """
    options = parsed(arguments)
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
