"""
The socket of the kernel, with errors that the kernel of a test machine seldom has.
"""

from __future__ import annotations

import errno
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.kernelsocket import IP_PKTINFO, UDP_SEGMENT, _End4, _End6, runs


class Refusing:
    """
    A socket that refuses some writes.

    @ivar errors: the error numbers of writes, by whether they are cut by the kernel and have a source address.
    @ivar sent: the messages of each write that was accepted.
    @ivar controls: the control messages of each write that was accepted.
    """

    def __init__(self, errors: dict[tuple[bool, bool], int]) -> None:
        self.errors = errors
        self.sent: list[list[bytes]] = []
        self.controls: list[list[Any]] = []
        self.tried = 0

    def sendmsg(self, messages: list[bytes], control: list[Any], flags: int, address: Any) -> int:
        """
        Refuse the messages, or keep them.
        """
        self.tried += 1
        kinds = {kind for level, kind, _ in control}
        error = self.errors.get((UDP_SEGMENT in kinds, IP_PKTINFO in kinds))
        if error is not None:
            raise OSError(error, "refused")
        self.sent.append(list(messages))
        self.controls.append(list(control))
        return sum(map(len, messages))


@pytest.mark.linux
class SendingTests(SynchronousTestCase):
    """
    Messages that the kernel refuses to cut, or to send from an address that is gone.
    """

    messages = (b"a" * 100, b"b" * 100, b"c" * 40)
    route = socket.IPPROTO_IP, IP_PKTINFO, bytes(12)

    def send(self, made: Any, end: _End4, endpoint: Endpoint) -> int:
        """
        Send the messages once.

        @return: how many could not be sent.
        """
        made.sent.clear()
        return end.send(list(self.messages), endpoint, 0)

    def end(self, errors: dict[tuple[bool, bool], int]) -> tuple[Any, _End4]:
        """
        The end of a socket with these errors.
        """
        made: Any = Refusing(errors)
        return made, _End4(made, lambda messages, endpoint, mark: None)

    def test_messagesAreCutByTheKernel(self) -> None:
        made, end = self.end({})
        self.assertEqual(self.send(made, end, Endpoint("192.0.2.1", 1)), 0)
        self.assertEqual(made.sent, [list(self.messages)])

    def test_aKernelThatDoesNotCutIsAskedOnce(self) -> None:
        for number in errno.EIO, errno.EINVAL:
            made, end = self.end({(True, False): number})
            self.assertEqual(self.send(made, end, Endpoint("192.0.2.1", 1)), 0)
            self.assertEqual(made.sent, [[each] for each in self.messages])
            made.tried = 0
            self.send(made, end, Endpoint("192.0.2.1", 1))
            self.assertEqual(made.tried, len(self.messages))

    def test_aRunThatIsTooLongForOnePathIsCutForOthers(self) -> None:
        made, end = self.end({(True, False): errno.EMSGSIZE})
        self.send(made, end, Endpoint("192.0.2.1", 1))
        self.assertEqual(made.sent, [[each] for each in self.messages])
        made.errors.clear()
        self.send(made, end, Endpoint("192.0.2.1", 1))
        self.assertEqual(made.sent, [list(self.messages)])

    def test_anAddressThatIsGoneIsForgottenAndMessagesAreStillCut(self) -> None:
        for number in errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL:
            made, end = self.end({(True, True): number, (False, True): number})
            endpoint = Endpoint("192.0.2.1", 1, self.route)
            self.assertEqual(self.send(made, end, endpoint), 0)
            self.assertIsNone(endpoint.route)
            self.assertEqual(b"".join(each for write in made.sent for each in write), b"".join(self.messages))
            self.send(made, end, endpoint)
            self.assertEqual(made.sent, [list(self.messages)], number)

    def test_messagesWithoutAWayOutAreCounted(self) -> None:
        made, end = self.end({(True, False): errno.ENETUNREACH, (False, False): errno.ENETUNREACH})
        self.assertEqual(self.send(made, end, Endpoint("192.0.2.1", 1)), len(self.messages))

    def test_runsHaveOneLength(self) -> None:
        lengths = [[len(each) for each in run] for run in runs([b"x" * size for size in (5, 5, 3, 5, 6, 6)])]
        self.assertEqual(lengths, [[5, 5, 3], [5], [6, 6]])


class ElsewhereTests(SynchronousTestCase):
    """
    The socket on a platform without the options and the control messages of Linux.
    """

    def setUp(self) -> None:
        self.patch(sys, "platform", "darwin")

    def test_messagesAreSentOneByOneAndWithoutControlMessages(self) -> None:
        made: Any = Refusing({})
        end = _End4(made, lambda messages, endpoint, mark: None)
        self.assertEqual(end.send([b"a" * 100, b"b" * 100], Endpoint("192.0.2.1", 1), 0x88), 0)
        self.assertEqual(made.sent, [[b"a" * 100], [b"b" * 100]])
        self.assertEqual(made.controls, [[], []])

    def test_onlyIPv6HasAnOption(self) -> None:
        for family, kind in (socket.AF_INET, _End4), (socket.AF_INET6, _End6):
            asked: list[tuple[int, int, int]] = []
            made: Any = SimpleNamespace(setsockopt=lambda *option, asked=asked: asked.append(option))
            kind(made, lambda messages, endpoint, mark: None).prepare(0)
            only = [(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)] if family == socket.AF_INET6 else []
            self.assertEqual(asked, only)

    def test_aMarkIsRefused(self) -> None:
        end = _End4(SimpleNamespace(), lambda messages, endpoint, mark: None)  # type: ignore[arg-type]
        error = self.assertRaises(OSError, end.prepare, 5)
        self.assertEqual((error.errno, error.strerror), (errno.ENOTSUP, "darwin cannot mark packets: leave fwmark 0"))
