"""
Requests to the kernel through rtnetlink (C{rtnetlink(7)}), with a reactor and without one. pyroute2 packs and parses
the messages, but its sockets are not used, because they do not work on every reactor.

A sequence of requests is written as a generator, called a conversation. It yields L{Request}s, and each answer is sent
into it. If the kernel refuses a request, the error is raised in the generator::

    def conversation():
        (link,) = yield get("link", "find tun0", IFLA_IFNAME="tun0")
        yield new("link", "set tun0 up", 0, index=link["index"], flags=IFF_UP, change=IFF_UP)
        return link["index"]

    index = askNow(conversation())
    deferred = ask(reactor, conversation())

By convention, functions that make conversations have names in C{-ing}: C{finding(name)} makes the conversation that
finds an interface.

A conversation that computes for long yields C{None} from time to time, so that the reactor can handle other events. If
a conversation is cancelled, C{CancelledError} is raised in it in place of sending its next request. So the generator
can undo the changes that it has made.

Import this module before the reactor runs, and only where it is needed: importing pyroute2 blocks for longer than all
other imports of this package.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, TypeVar, cast

import attrs
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from txtuntap.device import printable
from txtuntap.device.linux.linkmessages import decode, split
from txtuntap.device.linux.namespace import Namespace, inNamespace
from txtuntap.device.pieces import ITEMS_PER_TURN
from txtuntap.layer.timer import Timer

_T = TypeVar("_T")

Message = dict[str, Any]

#: C{linux/socket.h}. Python has this family on Linux only, and this module is checked for other platforms, too.
_AF_NETLINK = 16

#: C{linux/netlink.h}
NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_ECHO = 0x008
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

#: The largest number of octets in one read. The kernel fills it with messages (C{netlink_dump}), such as hundreds of
#: routes.
READ_SIZE = 16384

#: The largest number of times that a dump is repeated because the objects have changed while the kernel listed them.
#: After that number, the last answer is used.
MAX_INTERRUPTIONS = 10

#: For each kind of object, pyroute2's class and the message types for new, delete and get (C{linux/rtnetlink.h}).
_KINDS = {
    "link": (ifinfmsg, 16, 17, 18),
    "address": (ifaddrmsg, 20, 21, 22),
    "route": (rtmsg, 24, 25, 26),
    "neighbour": (ndmsg, 28, 29, 30),
    "rule": (fibmsg, 32, 33, 34),
}


@attrs.frozen
class Request:
    """
    One request to the kernel.

    @ivar kind: the kind of object: C{"link"}, C{"address"}, C{"route"}, C{"neighbour"} or C{"rule"}.
    @ivar verb: C{"new"}, C{"delete"} or C{"get"}.
    @ivar flags: the flags C{NLM_F_...}. C{NLM_F_REQUEST} is added to them.
    @ivar fields: the fields of the message's fixed header, with names in lower case, and its attributes, with names in
        capitals.
    @ivar what: the request in words, in the imperative, for the text of an error. The kernel's reason is appended
        there.
    """

    kind: str
    verb: str
    flags: int
    fields: dict[str, Any]
    what: str

    def pack(self, sequence: int) -> bytes:
        """
        Pack the request into a netlink message.

        @param sequence: the sequence number, which the kernel copies into the answer.
        """
        kind, *types = _KINDS[self.kind]
        message: Any = kind()
        message["header"]["type"] = types[("new", "delete", "get").index(self.verb)]
        message["header"]["flags"] = NLM_F_REQUEST | self.flags
        message["header"]["sequence_number"] = sequence
        for field, value in self.fields.items():
            if field.islower():
                message[field] = value
        message["attrs"] = [(field, value) for field, value in self.fields.items() if field.isupper()]
        message.encode()
        return bytes(message.data)


def new(kind: str, what: str, how: int = NLM_F_CREATE | NLM_F_EXCL, **fields: Any) -> Request:
    """
    Make the request that adds an object, or changes one.

    @param how: the flags that say what to do if the object exists. By default, that is an error.
    """
    return Request(kind, "new", NLM_F_ACK | how, fields, what)


def delete(kind: str, what: str, **fields: Any) -> Request:
    """
    Make the request that deletes an object.
    """
    return Request(kind, "delete", NLM_F_ACK, fields, what)


def get(kind: str, what: str, **fields: Any) -> Request:
    """
    Make the request that reads one object.
    """
    return Request(kind, "get", NLM_F_ACK, fields, what)


def dump(kind: str, what: str, **fields: Any) -> Request:
    """
    Make the request that reads all objects of a kind. C{fields} select some of them.
    """
    return Request(kind, "get", NLM_F_DUMP, fields, what)


Conversation = Generator[Request | None, list[Message], _T]


class _ConversationRun:
    """
    A running conversation, without I/O. L{proceed} and L{received} return the next message to send to the kernel.

    @ivar paused: whether the conversation waits for the next turn of the reactor, in which L{proceed} is to be called.
    @ivar done: whether the conversation has ended.
    @ivar result: the conversation's result, once it has ended.
    """

    def __init__(self, conversation: Conversation[Any]) -> None:
        self._conversation = conversation
        self._marshal = MarshalRtnl()
        self._sequence = 0
        self._request: Request | None = None
        self._answer: list[Message] = []
        # The messages of the last read that wait for the next turn.
        self._unparsed: Iterator[Any] | None = None
        self._interruptions = 0
        self._isInterrupted = False
        self._cancelled: BaseException | None = None
        self.paused = False
        self.done = False
        self.result: Any = None

    def proceed(self) -> bytes:
        """
        Begin the conversation, or continue it after a pause.

        @return: the next message to send; empty: none.
        """
        self.paused = False
        if self._unparsed is not None:
            return self._parse(self._unparsed)
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            return self._resume(lambda: self._conversation.throw(cancelled))
        return self._resume(lambda: next(self._conversation))

    def received(self, data: bytes) -> bytes:
        """
        Continue the conversation with octets that were read from the socket.

        @param data: the octets of one read.

        @return: the next message to send; empty: none.
        """
        self._unparsed = self._messages(data)
        return self._parse(self._unparsed)

    def _parse(self, messages: Iterator[Any]) -> bytes:
        """
        Parse at most L{ITEMS_PER_TURN} messages. If there are more, pause.
        """
        for _ in range(ITEMS_PER_TURN):
            message = next(messages, None)
            if message is None:
                self._unparsed = None
                return b""
            header = message["header"]
            if header["sequence_number"] != self._sequence:
                # A notification, or a late message for an earlier request.
                continue
            if header["flags"] & NLM_F_DUMP_INTR:
                self._isInterrupted = True
            event = message["event"]
            if event in ("NLMSG_ERROR", "NLMSG_DONE"):
                self._unparsed = None
                return self._answered(header["error"] if event == "NLMSG_ERROR" else None)
            self._answer.append(message)
        self.paused = True
        return b""

    def _messages(self, data: bytes) -> Iterator[Message]:
        for kind, each in split(data):
            message = decode(kind, each)
            if message is not None:
                yield message
            else:
                yield from self._marshal.parse(each)

    def cancel(self, reason: BaseException) -> None:
        """
        Cancel the conversation once the kernel has answered the present request. The reason is raised in the generator.
        """
        self._cancelled = reason

    def _answered(self, error: Any) -> bytes:
        answer, self._answer = self._answer, []
        request = self._request
        assert request is not None
        if error is not None:
            text = f"cannot {printable(request.what)}: {error.args[1] or os.strerror(error.code)}"
            return self._resume(lambda: self._conversation.throw(OSError(error.code, text)))
        interrupted, self._isInterrupted = self._isInterrupted, False
        if interrupted and self._interruptions < MAX_INTERRUPTIONS:
            self._interruptions += 1
            return self._send(request)
        self._interruptions = 0
        return self._resume(lambda: self._conversation.send(answer))

    def _resume(self, step: Callable[[], Request | None]) -> bytes:
        try:
            request = step()
            if self._cancelled is not None:
                cancelled, self._cancelled = self._cancelled, None
                request = self._conversation.throw(cancelled)
        except StopIteration as e:
            self.result = e.value
            self.done = True
            return b""
        if request is None:
            self.paused = True
            return b""
        return self._send(request)

    def _send(self, request: Request) -> bytes:
        self._request = request
        self._sequence += 1
        return request.pack(self._sequence)


def openSocket(groups: int = 0, namespace: Namespace | None = None) -> socket.socket:
    """
    Open a netlink socket for conversations or for notifications.

    @param groups: the multicast groups C{RTMGRP_...} whose notifications to receive.
    @param namespace: the network namespace to open the socket in; C{None}: the namespace of this process.

    @raise OSError: the socket cannot be opened, or the namespace cannot be entered.
    """
    return inNamespace(namespace, lambda: _openSocket(groups))


def _openSocket(groups: int) -> socket.socket:
    try:
        opened = socket.socket(_AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    except OSError as e:
        raise _refused(e) from e
    # Without NETLINK_EXT_ACK (before Linux 4.12, or in some sandboxes), errors have no text. Without
    # NETLINK_GET_STRICT_CHK (before Linux 4.20), a dump returns all objects of the kind instead of the selected ones.
    for option in NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK:
        with suppress(OSError):
            opened.setsockopt(SOL_NETLINK, option, 1)
    try:
        opened.bind((0, groups))
    except OSError as e:
        opened.close()
        raise _refused(e) from e
    return opened


def _refused(error: OSError) -> OSError:
    """
    Replace the text of an error by one that says what was refused. Some sandboxes (seccomp, gVisor) have TUN devices
    but no rtnetlink.
    """
    text = f"cannot open a netlink socket (rtnetlink), which configures and watches interfaces: {error.strerror}"
    return OSError(error.errno, text)


def askNow(conversation: Conversation[_T], namespace: Namespace | None = None) -> _T:
    """
    Run a conversation with the kernel, and block until it ends. Use this before the reactor runs, such as in
    C{privilegedStartService}.

    @param namespace: the network namespace that the requests are sent in; C{None}: the namespace of this process.

    @return: the conversation's result.

    @raise OSError: the kernel has refused a request and the generator did not catch that, or the namespace cannot be
        entered.
    """
    run = _ConversationRun(conversation)
    with openSocket(namespace=namespace) as netlink:
        message = run.proceed()
        while not run.done:
            if run.paused:
                message = run.proceed()
                continue
            if message:
                netlink.send(message)
            try:
                data = netlink.recv(READ_SIZE)
            except KeyboardInterrupt as e:
                run.cancel(e)
                message = b""
            else:
                message = run.received(data)
    return cast(_T, run.result)


def ask(
    reactor: Any,
    conversation: Conversation[_T],
    namespace: Namespace | None = None,
    by: socket.socket | None = None,
) -> Deferred[_T]:
    """
    Run a conversation with the kernel, without blocking.

    @param reactor: the reactor; C{None}: the installed one.
    @param namespace: the network namespace that the requests are sent in; C{None}: the namespace of this process.
    @param by: an open socket from L{openSocket}, which has to be used for one conversation at a time; C{None}: open one
        in C{namespace} for this conversation.

    @return: fires with the conversation's result; fails with what L{askNow} raises. Cancelling it raises
        C{CancelledError} in the generator, which still runs to its end to undo its changes.
    """
    if reactor is None:
        from twisted.internet import reactor
    try:
        netlink = openSocket(namespace=namespace) if by is None else by.dup()
    except OSError as e:
        return fail(e)
    netlink.setblocking(False)
    return _ConversationReader(reactor, conversation, netlink).done


class _ConversationReader(FileDescriptor):
    """
    The reader of one conversation's socket on the reactor.
    """

    def __init__(self, reactor: Any, conversation: Conversation[Any], netlink: socket.socket) -> None:
        super().__init__(reactor)
        self._netlink = netlink
        self.done: Deferred[Any] = Deferred(lambda _: self._run.cancel(CancelledError()))
        self._run = _ConversationRun(conversation)
        self._turn = Timer(reactor, self._go, self._run.proceed)
        self.startReading()  # type: ignore[no-untyped-call]
        self._go(self._run.proceed)

    def fileno(self) -> int:
        return self._netlink.fileno()

    def doRead(self) -> None:
        """
        Read a part of the answer, and continue the conversation.
        """
        if self._run.paused:
            # The octets wait in the kernel until the messages of the last read are parsed.
            return
        try:
            data = self._netlink.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            self._fail(e)
            return
        self._go(lambda: self._run.received(data))

    def connectionLost(self, reason: Failure) -> None:
        """
        End the conversation with an error, because the reactor reads the socket no longer.
        """
        self._fail(OSError(errno.ESHUTDOWN, "the netlink socket was closed"))

    def logPrefix(self) -> str:
        return "netlink"

    def _go(self, step: Callable[[], bytes]) -> None:
        if self._netlink.fileno() < 0:
            # The socket was closed during a pause.
            return
        try:
            message = step()
            if message:
                self._netlink.send(message)
        except Exception as e:
            self._fail(e)
            return
        if self._run.done:
            self._end()
            if not self.done.called:
                self.done.callback(self._run.result)
        elif self._run.paused:
            self._turn.arm(0)

    def _fail(self, error: Exception) -> None:
        if self._netlink.fileno() >= 0:
            self._end()
            # The Deferred of a cancelled conversation has failed already.
            if not self.done.called:
                self.done.errback(error)

    def _end(self) -> None:
        self.stopReading()  # type: ignore[no-untyped-call]
        self._netlink.close()
