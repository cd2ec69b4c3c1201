"""
The server of the helper, the only process that has to run as root. It opens TUN and TAP devices for programs without
privilege, configures their interfaces, and passes the descriptors to the programs::

    python -I -m txtuntap.device.helper --allow 'alice:vpn*' --allow @dns:dns0:10.9.0.0/16,fd09::/64

(With C{-I}, Python imports no modules from the working directory.)

The helper asks the kernel which user has connected. A program has its device while its connection is open. When the
connection ends, the helper deletes the device if the helper has made it. If the device existed before, the helper
restores its settings.

L{HelpedDevice<txtuntap.device.helper.device.HelpedDevice>} is the client. A request is one line of JSON. The answer is
one line of JSON, too, and the descriptor is sent along with it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
from txtuntap.device.clockstep import followClock
from txtuntap.device.helper.descriptors import sendDescriptor
from txtuntap.device.helper.device import MAX_LINE
from txtuntap.device.helper.leases import Lease, Leases
from txtuntap.device.helper.limits import LogLimit, excerpt
from txtuntap.device.helper.options import parsed
from txtuntap.device.helper.permission import DeviceRequest, Peer, Rule
from txtuntap.device.helper.turns import Turns
from txtuntap.device.platform import requireUNIX
from txtuntap.interfaces import IDevice
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.timer import Timer
from txtuntap.shutdown import endOnHangUp
from txtuntap.wire.address import linkAddressText

if TYPE_CHECKING:
    from txtuntap.device.linux.namespace import Namespace

#: The number of seconds that the helper waits for the request of a new connection.
TIMEOUT = 10

#: The largest number of connections of all users. Each connection may have a device.
MAX_CONNECTIONS = 256

#: The largest number of connections of one user.
MAX_OF_USER = 32

#: The largest number of calls of one user that can wait. An open connection has at most one call, which serves its
#: request. A connection that has ended has at most one call, which takes its device back.
MAX_TURNS = 2 * MAX_OF_USER


@implementer(IFileDescriptorReceiver)
class HelperProtocol(LineOnlyReceiver):
    """
    The protocol of one connection. The program sends one request and receives one answer. After that, nothing is sent
    until the connection ends.
    """

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE

    _log = Logger("helper")

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self._peer: Peer | None = None
        self._hasRequested = False
        self._gone = False
        self._lease: Lease | None = None
        # The Deferred of the call that serves the request, and whether that call has begun.
        self._turn: Deferred[None] | None = None
        self._isServed = False
        self._timer = Timer(helper.reactor, self._late)

    def connectionMade(self) -> None:
        """
        Find out which user has connected, and refuse users without any rule.
        """
        try:
            peer = Peer.of(self.transport.socket)
        except OSError:
            # Nothing is given to a program whose user is not known.
            self._abort()
            return
        if not self._helper.hasRuleFor(peer):
            # The user is refused before the request is read. So users without any rule cannot occupy connections.
            if self._helper.logLimit.allows(None, "refusals"):
                self._log.info("Refused {peer}: no rule is about this user", peer=peer)
            self._refuse(errno.EPERM, f"no rule is about user {peer.user}")
        elif self._helper.admit(peer):
            self._peer = peer
            self._timer.arm(TIMEOUT)
        else:
            self._abort()

    def _late(self) -> None:
        """
        End a connection whose request has not arrived in time.
        """
        self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        """
        Receive the request, and serve it when the user has a turn.
        """
        if self._hasRequested or self._peer is None or self._helper.stopping:
            self._abort()
            return
        self._hasRequested = True
        self._timer.stop()
        self._turn = self._helper.turns.take(self._peer.user, self._serve, line, self._peer)
        self._turn.addErrback(self._failed, self._peer)

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Close the connection, because no request is so long.
        """
        self._abort()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        Close the descriptor and the connection, because programs send no descriptors to the helper.
        """
        os.close(descriptor)
        self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Take the device of this connection back, or cancel its waiting request.
        """
        self._gone = True
        self._timer.stop()
        peer, turn, lease = self._peer, self._turn, self._lease
        if peer is None:
            return
        self._helper.release(peer)
        if lease is not None and not self._helper.stopping:
            lease.turn = self._helper.turns.take(peer.user, self._takeBack, lease)
            lease.turn.addErrback(self._failed, peer)
        elif turn is not None and not self._isServed:
            # Otherwise the requests of ended connections would accumulate.
            turn.cancel()

    def _serve(self, line: bytes, peer: Peer) -> Deferred[None]:
        self._isServed = True
        return Deferred.fromCoroutine(self._answer(line, peer))

    async def _answer(self, line: bytes, peer: Peer) -> None:
        try:
            request = DeviceRequest.of(line)
            device, lease, rule = await self._helper.open(peer, request)
        except Exception as e:
            # An unexpected exception is reported to the program that has caused it. The helper continues.
            known = isinstance(e, OSError | ValueError)
            reason = excerpt((getattr(e, "strerror", None) or str(e)) if known else f"the request has failed: {e!r}")
            if self._helper.logLimit.allows(peer.user, "refusals"):
                self._log.info("Refused {peer}: {reason}", peer=peer, reason=reason)
            self._refuse(getattr(e, "errno", None) or errno.EINVAL, reason)
            return
        try:
            link = None if device.linkAddress is None else linkAddressText(device.linkAddress)
            answer = json.dumps({"name": device.name, "mtu": device.mtu, "linkAddress": link}).encode() + b"\n"
            try:
                if self._gone:
                    raise OSError(errno.ECONNRESET, "the program has ended")
                # The socket's buffer has room, because nothing was written before. Twisted's C{sendFileDescriptor}
                # sends later, so the descriptor would have to stay open until then.
                sendDescriptor(self.transport.socket, device.fileno(), answer)
            except OSError:
                # The program has not received the descriptor.
                await self._helper.leases.takeBack(lease, isFree=True)
                self._abort()
                return
        finally:
            if lease.kept is None:
                device.close()
        self._lease = lease
        if self._helper.logLimit.allows(peer.user, "leases"):
            self._log.info("Gave {name} to {peer} by rule {rule}", peer=peer, name=printable(device.name), rule=rule)

    def _refuse(self, number: int | None, reason: str) -> None:
        self.transport.write(json.dumps({"errno": number, "error": reason}).encode() + b"\n")
        self.transport.loseConnection()

    def _takeBack(self, lease: Lease) -> Deferred[None]:
        return Deferred.fromCoroutine(self._helper.leases.takeBack(lease))

    def _failed(self, reason: Failure, peer: Peer) -> None:
        if not reason.check(CancelledError) and self._helper.logLimit.allows(peer.user, "failures"):
            self._log.failure("Unexpected failure of the helper", reason)
        self._abort()

    def _abort(self) -> None:
        self.transport.abortConnection()


class Helper(Factory):
    """
    The factory of connections, with the rules, turns and leases that all connections share.

    @ivar turns: the queue of calls that open and take back devices. Calls run one at a time, so that a device is
        entirely taken back before it is opened again. Users take turns, so that no user has to wait for all requests of
        another one.
    @ivar logLimit: the limit of the log lines that users cause.
    @ivar leases: the devices that programs have.
    @ivar stopping: whether this process is ending. Programs keep their devices then.
    """

    noisy = False

    def __init__(
        self,
        rules: Sequence[Rule],
        reactor: Any,
        node: str | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        """
        @param rules: the rules. The first one that permits a request counts.
        @param reactor: the reactor.
        @param node: the path of the device node to open; C{None}: the platform's own.
        @param namespace: the network namespace of the interfaces; C{None}: the namespace of this process.
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
        Make the protocol of a new connection.
        """
        return HelperProtocol(self)

    def tables(self) -> list[TableState]:
        """
        The fill level of each table: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        connections = self._connections
        ofUser = max(connections.values(), default=0)
        return [
            TableState("helper connections of a user", ofUser, MAX_OF_USER, Policy.REFUSE.value),
            TableState("helper connections", connections.total(), MAX_CONNECTIONS, Policy.REFUSE.value),
            TableState("helper turns of a user", self.turns.mostWaiting, MAX_TURNS, "there are no more"),
            *self.logLimit.tables(),
        ]

    def hasRuleFor(self, peer: Peer) -> bool:
        """
        Whether any rule is about the user of C{peer}.
        """
        return any(rule.appliesTo(peer) for rule in self._rules)

    def admit(self, peer: Peer) -> bool:
        """
        Count a new connection, unless there are too many.

        @return: whether there is room for the connection.
        """
        connections = self._connections
        if connections.total() >= MAX_CONNECTIONS or connections[peer.user] >= MAX_OF_USER:
            return False
        connections[peer.user] += 1
        return True

    def release(self, peer: Peer) -> None:
        """
        Stop counting a connection that L{admit} has admitted and that has ended.
        """
        self._connections[peer.user] -= 1
        if not self._connections[peer.user]:
            del self._connections[peer.user]

    def ruleFor(self, peer: Peer, request: DeviceRequest, given: str | None = None) -> Rule:
        """
        Find the first rule that permits a request.

        @param given: the interface's name, in which the kernel has replaced C{%d}; C{None}: not known yet.

        @raise OSError: no rule permits the request (C{EPERM}).
        """
        reason = f"user {peer.user} may not have {given or request.name!r}"
        for rule in self._rules:
            if rule.permits(peer, request.name, given):
                refused = None if request.settings is None else rule.refused(request.settings)
                if refused is None:
                    return rule
                reason = f"{request.name}: {refused}"
        raise OSError(errno.EPERM, reason)

    async def open(self, peer: Peer, request: DeviceRequest) -> tuple[IDevice, Lease, Rule]:
        """
        Make or open a device, and configure its interface.

        @return: the open device, its lease, and the rule that permits it.

        @raise OSError: no rule permits the request (C{EPERM}), or the kernel refuses. All changes are undone then.
        """
        self.ruleFor(peer, request)
        device, before = await self.leases.attach(peer, request)
        try:
            # The kernel may have replaced %d by a number that no rule permits.
            rule = self.ruleFor(peer, request, device.name)
            lease = await self.leases.grant(peer, device, before, request.settings)
        except BaseException:
            device.close()
            raise
        return device, lease, rule

    def _stop(self) -> Any:
        self.stopping = True
        # The process ends only after all calls that run or wait.
        return self.turns.whenIdle()


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run the helper until the process receives SIGINT, SIGTERM or SIGHUP.

    @param arguments: the words after the command; C{None}: the arguments of this process.
    """
    try:
        requireUNIX("the helper", "run each program as an administrator, with a device of its own")
    except OSError as e:
        sys.exit(e.strerror)
    options = parsed(arguments)
    endOnHangUp()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)

    async def serve(reactor: Any) -> None:
        followClock(reactor)
        try:
            helper = Helper(options.allow, reactor, options.node, options.netns)
        except OSError as e:
            sys.exit(e.strerror)
        try:
            await serverFromString(reactor, options.listen).listen(helper)
        except (CannotListenError, LookupError, OSError, ValueError) as e:
            sys.exit(f"--listen: cannot listen on {options.listen}: {e}")
        Logger("helper").info("Listening on {where}", where=options.listen)
        await Deferred()

    react(lambda reactor: Deferred.fromCoroutine(serve(reactor)))
