"""
Rtnetlink (C{rtnetlink(7)}): asking the kernel, one question after the other. Messages are pyroute2's, the socket is
ours: so it works on every reactor, and without one.

What is to be asked is a generator. It yields L{Request}s, and each answer is sent into it; what the kernel refuses is
raised in it:

    def conversation():
        (link,) = yield get("link", "find tun0", IFLA_IFNAME="tun0")
        yield new("link", "set tun0 up", 0, index=link["index"], flags=IFF_UP, change=IFF_UP)
        return link["index"]

    index = askNow(conversation())
    deferred = ask(reactor, conversation())

Where it has much to do by itself, it yields L{None} from time to time, so that others come to theirs. Where it is given
up, that is raised in it, at the next request that is not sent yet; so what it does then is undone by its own hand.

pyroute2's modules take longer to import than all else here: whoever imports this one does so before the reactor runs,
and nothing imports it that can do without.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar, cast

import attrs
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
from txtuntap.layer.timer import Timer

_T = TypeVar("_T")
_Item = TypeVar("_Item")

Message = dict[str, Any]

#: C{linux/netlink.h}
NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

#: Octets of one read. The kernel fills that with messages (C{netlink_dump}): hundreds of routes.
READ_SIZE = 16384

#: Messages, routes or addresses that are handled before the reactor has its turn. A message takes up to 0.1 ms. (Two
#: calls of the reactor may fall into one turn, one for the last messages of one read and one for the next read.)
AT_ONCE = 25

#: How often something is read anew that has changed under way, before it is taken as it is.
MAX_INTERRUPTIONS = 10

#: The messages of each kind of object: class, and the types for new, delete and get (C{linux/rtnetlink.h}).
_KINDS = {
    "link": (ifinfmsg, 16, 17, 18),
    "address": (ifaddrmsg, 20, 21, 22),
    "route": (rtmsg, 24, 25, 26),
    "neighbour": (ndmsg, 28, 29, 30),
}


@attrs.frozen
class Request:
    """
    One question to the kernel.

    @ivar kind: C{"link"}, C{"address"}, C{"route"} or C{"neighbour"}.
    @ivar verb: C{"new"}, C{"delete"} or C{"get"}.
    @ivar flags: C{NLM_F_...}, beside C{NLM_F_REQUEST}.
    @ivar fields: of the message's fixed header, in lower case; and its attributes, by their names in capitals.
    @ivar what: what it is to do, for the text of an error; of it and no more, the kernel's reason comes after.
    """

    kind: str
    verb: str
    flags: int
    fields: dict[str, Any]
    what: str

    def pack(self, sequence: int) -> bytes:
        """
        The message.
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
    Make something or, where C{how} says so, change it.
    """
    return Request(kind, "new", NLM_F_ACK | how, fields, what)


def delete(kind: str, what: str, **fields: Any) -> Request:
    """
    Take something away.
    """
    return Request(kind, "delete", NLM_F_ACK, fields, what)


def get(kind: str, what: str, **fields: Any) -> Request:
    """
    Read one thing.
    """
    return Request(kind, "get", NLM_F_ACK, fields, what)


def dump(kind: str, what: str, **fields: Any) -> Request:
    """
    Read all of a kind.
    """
    return Request(kind, "get", NLM_F_DUMP, fields, what)


Conversation = Generator[Request | None, list[Message], _T]


def inPieces(call: Callable[[_Item], _T], items: Iterable[_Item]) -> Conversation[list[_T]]:
    """
    The results of C{call} for all C{items}, L{AT_ONCE} of them in a turn of the reactor.
    """
    results = []
    for item in items:
        results.append(call(item))
        if len(results) % AT_ONCE == 0:
            yield None
    return results


class _Asking:
    """
    A conversation under way: what to send next, and what to make of what comes.

    @ivar paused: whether to call L{proceed} next, when others have had their turn.
    @ivar done: whether it has ended, with C{result}.
    """

    def __init__(self, conversation: Conversation[Any]) -> None:
        self._conversation = conversation
        self._marshal = MarshalRtnl()
        self._sequence = 0
        self._request: Request | None = None
        self._answer: list[Message] = []
        # The rest of one read, where that has more messages than one turn handles.
        self._unparsed: Iterator[Any] | None = None
        self._interruptions = 0
        self._isInterrupted = False
        self._cancelled: BaseException | None = None
        self.paused = False
        self.done = False
        self.result: Any = None

    def proceed(self) -> bytes:
        """
        Begin, or go on after a pause.

        @return: the next message to send; empty if there is none now.
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
        @param data: what was read from the socket.

        @return: the next message to send; empty if there is none now.
        """
        self._unparsed = self._messages(data)
        return self._parse(self._unparsed)

    def _parse(self, messages: Iterator[Any]) -> bytes:
        """
        Parse as many messages as one turn handles. The rest takes a pause.
        """
        for _ in range(AT_ONCE):
            message = next(messages, None)
            if message is None:
                self._unparsed = None
                return b""
            header = message["header"]
            if header["sequence_number"] != self._sequence:
                # An event, or the rest of what was given up.
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
        Give it up, as soon as what was sent is answered.
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
    A socket for conversations and events.

    @param groups: C{RTMGRP_...}: what to be notified of.
    @param namespace: the network namespace it is of; L{None}: this one.

    @raise OSError: there are none to be had, or the namespace cannot be entered.
    """
    return inNamespace(namespace, lambda: _openSocket(groups))


def _openSocket(groups: int) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    except OSError as e:
        raise _refused(e) from e
    # Before Linux 4.12, and where something else stands in for the kernel, errors have no text of their own; before
    # 4.20 all there is comes, and not only what is asked for.
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
    The same error, saying what was refused: a sandbox (seccomp, gVisor) may have a device and no rtnetlink.
    """
    text = f"no netlink socket (rtnetlink), by which interfaces are set and watched, can be had here: {error.strerror}"
    return OSError(error.errno, text)


def askNow(conversation: Conversation[_T], namespace: Namespace | None = None) -> _T:
    """
    Hold a conversation with the kernel, and wait for its end. For where no reactor runs yet
    (C{privilegedStartService}).

    @param namespace: the network namespace that it is about; L{None}: this one.

    @raise OSError: what the kernel refused and the generator let pass; or the namespace cannot be entered.
    """
    asking = _Asking(conversation)
    with openSocket(namespace=namespace) as netlink:
        message = asking.proceed()
        while not asking.done:
            if asking.paused:
                message = asking.proceed()
                continue
            if message:
                netlink.send(message)
            try:
                data = netlink.recv(READ_SIZE)
            except KeyboardInterrupt as e:
                asking.cancel(e)
                message = b""
            else:
                message = asking.received(data)
    return cast(_T, asking.result)


def ask(
    reactor: Any,
    conversation: Conversation[_T],
    namespace: Namespace | None = None,
    by: socket.socket | None = None,
) -> Deferred[_T]:
    """
    Hold a conversation with the kernel.

    @param reactor: L{None}: the one that is installed.
    @param by: a socket of L{openSocket}, which stays open; L{None}: one is opened in C{namespace}. Conversations by one
        socket are held one after the other.

    @return: fires with what the generator returns; fails with what L{askNow} raises. When it is cancelled, the
        generator goes on to its end, to undo what it has done.
    """
    if reactor is None:
        from twisted.internet import reactor
    try:
        netlink = openSocket(namespace=namespace) if by is None else by.dup()
    except OSError as e:
        return fail(e)
    netlink.setblocking(False)
    return _Asker(reactor, conversation, netlink).done


class _Asker(FileDescriptor):
    """
    The socket of one conversation on the reactor.
    """

    def __init__(self, reactor: Any, conversation: Conversation[Any], netlink: socket.socket) -> None:
        super().__init__(reactor)
        self._netlink = netlink
        self.done: Deferred[Any] = Deferred(lambda _: self._asking.cancel(CancelledError()))
        self._asking = _Asking(conversation)
        self._turn = Timer(reactor, self._go, self._asking.proceed)
        self.startReading()  # type: ignore[no-untyped-call]
        self._go(self._asking.proceed)

    def fileno(self) -> int:
        return self._netlink.fileno()

    def doRead(self) -> None:
        """
        A part of the answer has come.
        """
        if self._asking.paused:
            # It waits in the kernel until what came before is parsed.
            return
        try:
            data = self._netlink.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            self._fail(e)
            return
        self._go(lambda: self._asking.received(data))

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor is done with the socket.
        """
        self._fail(OSError(errno.ESHUTDOWN, "the netlink socket was closed"))

    def logPrefix(self) -> str:
        return "netlink"

    def _go(self, step: Callable[[], bytes]) -> None:
        if self._netlink.fileno() < 0:
            # It was closed during a pause.
            return
        try:
            message = step()
            if message:
                self._netlink.send(message)
        except Exception as e:
            self._fail(e)
            return
        if self._asking.done:
            self._end()
            if not self.done.called:
                self.done.callback(self._asking.result)
        elif self._asking.paused:
            self._turn.arm(0)

    def _fail(self, error: Exception) -> None:
        if self._netlink.fileno() >= 0:
            self._end()
            # A caller that has cancelled it knows already.
            if not self.done.called:
                self.done.errback(error)

    def _end(self) -> None:
        self.stopReading()  # type: ignore[no-untyped-call]
        self._netlink.close()
