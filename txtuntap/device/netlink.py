"""
Rtnetlink (C{rtnetlink(7)}): asking the kernel, one question after the other. Messages are pyroute2's, the socket is
ours: so it works on every reactor, and without one.

What is to be asked is a generator. It yields L{Request}s, and each answer is sent into it; what the kernel refuses is
raised in it:

    def conversation():
        (link,) = yield get("link", IFLA_IFNAME="tun0")
        yield change("link", "set it up", index=link["index"], flags=IFF_UP, change=IFF_UP)
        return link["index"]

    index = askNow(conversation())
    deferred = ask(reactor, conversation())

pyroute2's modules take longer to import than all else here: whoever imports this one does so before the reactor runs,
and nothing imports it that can do without.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Generator
from contextlib import suppress
from typing import Any, TypeVar, cast

import attrs
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from txtuntap.device.namespace import Namespace, inNamespace

_T = TypeVar("_T")

Message = dict[str, Any]

#: C{linux/netlink.h}
NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

#: Octets of one read. The kernel puts at most 32 KiB of messages into one (C{netlink_dump}).
READ_SIZE = 65536

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


Conversation = Generator[Request, list[Message], _T]


class _Asking:
    """
    A conversation under way: what to send next, and what to make of what comes.
    """

    def __init__(self, conversation: Conversation[Any]) -> None:
        self._conversation = conversation
        self._marshal = MarshalRtnl()
        self._sequence = 0
        self._request: Request | None = None
        self._answer: list[Message] = []
        self.result: Any = None
        self.done = False

    def begin(self) -> bytes:
        """
        @return: the first message to send; empty if there is nothing to ask.
        """
        return self._resume(None)

    def received(self, data: bytes) -> bytes:
        """
        @param data: what was read from the socket.

        @return: the next message to send; empty if more must come first, or all is C{done}.
        """
        for message in self._marshal.parse(data):
            header = message["header"]
            if header["sequence_number"] != self._sequence:
                # An event, or the rest of what was given up.
                continue
            event = message["event"]
            if event == "NLMSG_ERROR":
                return self._resume(header["error"])
            if event == "NLMSG_DONE":
                return self._resume(None)
            self._answer.append(cast(Message, message))
        return b""

    def _resume(self, error: Any) -> bytes:
        answer, self._answer = self._answer, []
        try:
            if self._request is None:
                self._request = next(self._conversation)
            elif error is not None:
                what = self._request.what
                self._request = self._conversation.throw(
                    OSError(error.code, f"cannot {what}: {error.args[1] or os.strerror(error.code)}")
                )
            else:
                self._request = self._conversation.send(answer)
        except StopIteration as e:
            self.result = e.value
            self.done = True
            return b""
        self._sequence += 1
        return self._request.pack(self._sequence)


def openSocket(groups: int = 0, namespace: Namespace | None = None) -> socket.socket:
    """
    A socket for conversations and events.

    @param groups: C{RTMGRP_...}: what to be notified of.
    @param namespace: the network namespace it is of; L{None}: this one.
    """
    return inNamespace(namespace, lambda: _openSocket(groups))


def _openSocket(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    with suppress(OSError):
        # Before Linux 4.20 all there is comes, and not only what is asked for.
        opened.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    opened.bind((0, groups))
    return opened


def askNow(conversation: Conversation[_T], namespace: Namespace | None = None) -> _T:
    """
    Hold a conversation with the kernel, and wait for its end. For where no reactor runs yet
    (C{privilegedStartService}).

    @param namespace: the network namespace that it is about; L{None}: this one.

    @raise OSError: what the kernel refused and the generator let pass; or the namespace cannot be entered.
    """
    asking = _Asking(conversation)
    with openSocket(namespace=namespace) as netlink:
        message = asking.begin()
        while not asking.done:
            if message:
                netlink.send(message)
            message = asking.received(netlink.recv(READ_SIZE))
    return cast(_T, asking.result)


def ask(reactor: Any, conversation: Conversation[_T], namespace: Namespace | None = None) -> Deferred[_T]:
    """
    Hold a conversation with the kernel.

    @param reactor: L{None}: the one that is installed.

    @return: fires with what the generator returns; fails with what L{askNow} raises.
    """
    if reactor is None:
        from twisted.internet import reactor
    try:
        netlink = openSocket(namespace=namespace)
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
        self.done: Deferred[Any] = Deferred(lambda _: self._end())
        self._asking = _Asking(conversation)
        self.startReading()  # type: ignore[no-untyped-call]
        self._go(self._asking.begin)

    def fileno(self) -> int:
        return self._netlink.fileno()

    def doRead(self) -> None:
        """
        Something has come.
        """
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

    def _go(self, step: Any) -> None:
        try:
            message = step()
            if message:
                self._netlink.send(message)
        except Exception as e:
            self._fail(e)
            return
        if self._asking.done:
            self._end()
            self.done.callback(self._asking.result)

    def _fail(self, error: Exception) -> None:
        if self._netlink.fileno() >= 0:
            self._end()
            self.done.errback(error)

    def _end(self) -> None:
        self.stopReading()  # type: ignore[no-untyped-call]
        self._netlink.close()
