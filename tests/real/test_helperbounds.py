"""
The bounds of the helper: what many users, many connections and long requests can take from it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.real.lab.guest import NOBODY, Guest
from tests.real.lab.helper import Helper, request, requestFor
from tests.real.lab.namespace import Namespace, interfaces, ip, needRoot, until
from txtuntap.device import TUN
from txtuntap.device.helper.device import HelpedDevice
from txtuntap.device.helper.limits import MAX_LOGGED
from txtuntap.device.helper.server import MAX_OF_USER
from txtuntap.device.settings import InterfaceSettings

#: The largest number of log lines of one kind about one user with the same second: those of two intervals of a second,
#: each with a line about the rest.
MOST_LINES = 2 * (MAX_LOGGED + 1)


def test_moreThanOneRequestEndsTheConnection(helper: Helper) -> None:
    for more in b"x" * 100_000, request() + request(), b"":
        with helper.connected() as client, suppress(ConnectionError):
            client.sendall(more)
            if not more:
                # The helper accepts no descriptors.
                socket.send_fds(client, [b"x"], [client.fileno()])
            while client.recv(4096):
                pass
    until(lambda: not interfaces(), "nothing to be left")
    assert helper.log().count("Refused ") == 0


def test_theConnectionsOfAUserAreBounded(helper: Helper) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(helper.connected()) for _ in range(MAX_OF_USER)]
        with helper.connected() as one:
            assert _isClosed(one)
        clients[0].close()
        until(lambda: _enters(helper), "room for one more")


def test_usersWithoutARuleKeepOutNoOtherUser(namespace: Namespace, tmp_path: Path) -> None:
    needRoot()
    with Helper(tmp_path, rules=(f"{NOBODY}:tt*",)) as helper, ExitStack() as stack:
        clients = [stack.enter_context(helper.connected()) for _ in range(40)]
        told = {"errno": errno.EPERM, "error": f"no rule is about user {os.getuid()}"}
        for client in clients:
            assert json.loads(client.makefile().readline()) == told
            assert _isClosed(client)
        for line in request(), b"x" * 100_000, b"hello\n", b"":
            assert helper.answer(line) == told
        with pytest.raises(OSError, match=r"the helper at .*/socket: no rule is about user \d+") as raised:
            HelpedDevice("tt0", TUN, path=helper.path).open()
        assert raised.value.errno == errno.EPERM
        with Guest(f'helper {helper.path} {{"up": true}}', "tt0", "tun") as guest:
            assert isinstance(guest.said, dict), guest.said
    until(lambda: not interfaces(), "the device to go")


def test_logLinesOfRefusalsAreBounded(helper: Helper) -> None:
    for key in "k" * 15_000, "\x1b[31mred\nFAKE", "\ud800":
        answer = helper.answer(request(**{key: 1}))
        assert answer["errno"] == errno.EINVAL
        assert answer["error"].startswith("the helper does not set ")
        assert answer["error"].isascii() and answer["error"].isprintable()
        assert len(answer["error"]) <= 200
    for _ in range(500):
        assert helper.answer(b"hello\n")["errno"] == errno.EINVAL
    until(lambda: _refusals(helper) == 503, "all to be counted")
    assert _linesOfBusiestSecond(helper) <= MOST_LINES
    assert max(map(len, helper.log().splitlines())) < 500
    assert "\x1b" not in helper.log()


def _refusals(helper: Helper) -> int:
    more = re.findall(r" (\d+) more refusals of user \d+\n", helper.log())
    return helper.log().count("Refused ") + sum(map(int, more))


def test_logLinesOfLeasesAreBounded(helper: Helper) -> None:
    device = HelpedDevice("tt0", TUN, path=helper.path)
    for _ in range(100):
        with device:
            pass
    until(lambda: _lines(helper, "Gave tt0 to .* user .* by rule", "leases") == 100, "all leases to be counted")
    until(lambda: _lines(helper, "tt0 is taken back", "ends of leases") == 100, "all ends to be counted")
    assert _linesOfBusiestSecond(helper) <= 2 * MOST_LINES


def _linesOfBusiestSecond(helper: Helper) -> int:
    """
    The largest number of lines in the log with the same second. How many lines there are in all depends on how fast
    the machine is.
    """
    return max(Counter(line.partition(" ")[0] for line in helper.log().splitlines()).values())


def _lines(helper: Helper, line: str, kind: str) -> int:
    """
    Count the log lines of a kind, including those that were only counted because of the limit.
    """
    log = helper.log()
    return len(re.findall(line, log)) + sum(map(int, re.findall(rf" (\d+) more {kind} of user \d+\n", log)))


@contextmanager
def _forOthers() -> Iterator[Path]:
    """
    Make a directory that other users can enter.
    """
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


def _connectedAs(user: int, helper: Helper) -> socket.socket:
    os.seteuid(user)
    try:
        return helper.connected()
    finally:
        os.seteuid(0)


def test_usersTakeTurns(namespace: Namespace) -> None:
    needRoot()
    with _forOthers() as directory, Helper(directory) as helper, ExitStack() as stack:
        # All requests of one user arrive before that of the other, while the helper is stopped.
        os.kill(helper.process.pid, signal.SIGSTOP)
        try:
            mine = [stack.enter_context(helper.connected()) for _ in range(MAX_OF_USER)]
            for client in mine:
                client.sendall(requestFor("tt%d"))
            other = stack.enter_context(_connectedAs(NOBODY, helper))
            other.sendall(requestFor("tt%d"))
        finally:
            os.kill(helper.process.pid, signal.SIGCONT)
        names = []
        for client in other, *mine:
            data, *given = socket.recv_fds(client, 4096, 1)
            for descriptor in given[0]:
                os.close(descriptor)
            names.append(json.loads(data)["name"])
        # The kernel numbers the devices in the order in which they are made. The helper reads the connections in turn,
        # and begins with the first.
        assert int(names[0].removeprefix("tt")) <= 3, names
    until(lambda: not interfaces(), "the devices to go")


def test_requestsOfClosedConnectionsAreForgotten(namespace: Namespace, tmp_path: Path) -> None:
    with Helper(tmp_path) as helper:
        os.kill(helper.process.pid, signal.SIGSTOP)
        try:
            for _ in range(10):
                with helper.connected() as client:
                    client.sendall(requestFor("tt%d"))
        finally:
            os.kill(helper.process.pid, signal.SIGCONT)
        with HelpedDevice("tt%d", TUN, path=helper.path) as device:
            assert device.name == "tt0"
        until(lambda: not interfaces(), "the device to go")


def test_theSettingsOfARequestAreBounded(helper: Helper) -> None:
    routes = [{"network": f"10.9.0.{number}/32"} for number in range(65)]
    answer = helper.answer(request(routes=routes))
    assert (answer["errno"], answer["error"]) == (
        errno.EINVAL,
        "the request has more than 64 addresses, routes, neighbours",
    )
    settings = InterfaceSettings(routes=[f"10.9.0.{number}/32" for number in range(64)])
    with HelpedDevice("tt0", TUN, settings, helper.path):
        assert len(ip("route", "show", "dev", "tt0").splitlines()) == 64


def _isClosed(client: socket.socket) -> bool:
    """
    Return whether the other end closes a connection without sending anything.
    """
    try:
        return not client.recv(1)
    except ConnectionError:
        return True


def _enters(helper: Helper) -> bool:
    try:
        return bool(helper.answer(b"hello\n"))
    except (OSError, ValueError):
        return False
