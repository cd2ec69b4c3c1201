"""
C{twistd tuntap host} with its options, in processes of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.real.lab.asking import asking, askUntilAnswered
from tests.real.lab.ending import endOrderly
from tests.real.lab.helper import Helper
from tests.real.lab.host import KERNEL_ADDRESSES, Host, ask, connected, installedTwistd, options, twistd
from tests.real.lab.link import delete, show
from tests.real.lab.namespace import PATIENCE, Namespace, another, interfaces, ip, names, needRoot, until
from tests.real.lab.warm import Program
from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.namespace import inNamespace

KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])

_NOBODY = 65534

_MODULE = """
from twisted.internet.protocol import DatagramProtocol, Protocol

class Shout(DatagramProtocol):
    def datagramReceived(self, datagram, addr):
        self.transport.write(datagram.upper(), addr)

class StreamShout(Protocol):
    def dataReceived(self, data):
        self.transport.write(data.upper())

def factory():
    return Shout()

def broken():
    raise RuntimeError("not today")
"""


@KINDS
def test_theEchoServiceAnswers(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Host(tmp_path, mode, installed=True):
        assert show("tt0")["linkinfo"]["info_data"]["type"] == mode
        for address in "10.9.0.2", "fd09::2":
            assert ask(address, b"hello") == b"hello"


@KINDS
def test_discardAnswersNothing(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Host(tmp_path, mode, udp=("7=echo", "9=discard")) as host, connected("10.9.0.2", 9) as client:
        client.send(b"hello")
        assert _nothingCameBack(host, client)


@KINDS
def test_aClassInTheWorkingDirectoryIsServed(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    (tmp_path / "mine.py").write_text(_MODULE)
    with Host(tmp_path, mode, udp=("7=echo", "70=mine.Shout", "71=mine.factory")):
        for port in 70, 71:
            for address in "10.9.0.2", "fd09::2":
                assert ask(address, b"hello", port) == b"HELLO"


@KINDS
def test_theStreamServicesAnswer(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    (tmp_path / "mine.py").write_text(_MODULE)
    with Host(tmp_path, mode, more=("--tcp", "7=echo", "--tcp", "9=discard", "--tcp", "70=mine.StreamShout")) as host:
        for address in "10.9.0.2", "fd09::2":
            for port, expected in (7, b"hello"), (9, b""), (70, b"HELLO"):
                with socket.create_connection((address, port), PATIENCE) as client:
                    client.sendall(b"hello")
                    if expected:
                        assert client.recv(5, socket.MSG_WAITALL) == expected
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(100) == b""
        endOrderly(host)


def test_allAddressesOfANetworkAnswer(namespace: Namespace, tmp_path: Path) -> None:
    networks = "--any-address", "10.9.0.0/24", "--any-address", "fd09::/64"
    answered = "--answer-for", "10.9.0.0/25", "--answer-for", "fd09::/64", "--answer-except", "10.9.0.7"
    with Host(tmp_path, "tap", more=networks + answered) as host:
        for address in "10.9.0.9", "fd09::9":
            assert ask(address, b"hello") == b"hello"
        for address in "10.9.0.7", "10.9.0.200":
            with connected(address) as client:
                client.send(b"hello")
                assert _nothingCameBack(host, client)


def test_anEchoDoesNotAnswerAnotherEcho(namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path, udp=("7=echo", "2007=echo", "2008=discard")) as host:
        for port in 1, 7, 1023, 2007:
            with connected("10.9.0.2", 7, ("10.9.0.1", port)) as client:
                client.send(b"forged")
                assert _nothingCameBack(host, client), f"an answer to port {port}"
        for port in 1024, 2008:
            assert ask("10.9.0.2", b"hello", source=("10.9.0.1", port)) == b"hello"
        host.process.send_signal(signal.SIGUSR2)
        until(lambda: "echo 7: inServices 4" in host.log(), "the counters of the echo")


def _nothingCameBack(host: Host, client: socket.socket) -> bool:
    """
    Return whether C{client} has received no answer after the host has processed its datagram.
    """
    for _ in range(2):
        # The first answer may be an ARP reply alone, after which the kernel sends the datagram. So ask a second time.
        assert ask("10.9.0.2", b"after it") == b"after it"
    assert host.process.poll() is None
    client.setblocking(False)
    try:
        client.recv(100)
    except BlockingIOError:
        return True
    return False


@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("--tun", ["--address", "10.9.0.2/24"]),
        ("--udp 7=mine.broken", options(udp=("7=mine.broken",))),
        ("no-one-has-made-this", [*options(), "--netns", "no-one-has-made-this"]),
    ],
    ids=["usage", "module", "start"],
)
def test_aWrongOptionIsNamed(namespace: Namespace, tmp_path: Path, named: str, arguments: list[str]) -> None:
    # tests.service.options.test_host tries the other options, without a process for each.
    (tmp_path / "mine.py").write_text(_MODULE)
    status, said = _fails(tmp_path, "host", *arguments)
    assert status != 0
    assert named in said[-1]
    # The log may have the usage text before the line.
    assert [line for line in said if re.search(r"(^|/|#error\] )twistd (-n|tuntap): ", line)] == said[-1:], said
    assert not any(line.startswith("Traceback") for line in said), said


def test_aBusyInterfaceIsAnErrorInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    with LinuxDevice("tt0", TUN):
        status, said = _fails(tmp_path, "host", *options())
    assert status != 0
    said = [line for line in said if "UnixAppLogger#info" not in line]
    assert len(said) == 1, said
    assert "tt0 is in use" in said[0]


def test_settingsThatTheInterfaceRefusesAreAnErrorInOneLine(namespace: Namespace, tmp_path: Path) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    ip("link", "set", "tt0", "mtu", "1000")
    status, said = _fails(tmp_path, "host", *options())
    assert status != 0
    said = [line for line in said if "#info" not in line]
    assert len(said) == 1, said
    assert "tt0: an MTU under 1280 disables IPv6" in said[0]


def _fails(directory: Path, *arguments: str) -> tuple[int, list[str]]:
    """
    Run C{twistd tuntap}, which must fail.

    @return: the exit status, and the lines of its output.
    """
    process = installedTwistd("-n", "--pidfile=twistd.pid", "tuntap", *arguments, cwd=directory)
    try:
        status = process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return status, (directory / "twistd.log").read_text().strip().splitlines()


@KINDS
@pytest.mark.parametrize("reactor", ["select", "poll", "epoll", "asyncio"])
def test_sigtermEndsTheService(namespace: Namespace, tmp_path: Path, mode: str, reactor: str) -> None:
    with Host(tmp_path, mode, twistdOptions=("--reactor", reactor)) as host:
        assert host.pidfile.exists()
        endOrderly(host)


@KINDS
@pytest.mark.parametrize("reactor", ["select", "poll", "epoll", "asyncio"])
def test_theServiceEndsWhenItsInterfaceIsDeleted(namespace: Namespace, tmp_path: Path, mode: str, reactor: str) -> None:
    with Host(tmp_path, mode, twistdOptions=("--reactor", reactor)) as host:
        delete("tt0")
        host.process.wait(PATIENCE)
        assert not host.pidfile.exists()
        said = host.log()
        assert "tt0 was deleted" in said
        assert "Traceback" not in said


@pytest.fixture
def nobodysDirectory() -> Iterator[Path]:
    """
    Make a directory that user 65534 can enter and write to.
    """
    needRoot()
    with TemporaryDirectory() as name:
        os.chown(name, _NOBODY, _NOBODY)
        yield Path(name)


@KINDS
def test_privilegesAreDropped(namespace: Namespace, nobodysDirectory: Path, mode: str) -> None:
    with Host(nobodysDirectory, mode, twistdOptions=("--uid", str(_NOBODY), "--gid", str(_NOBODY))) as host:
        for address in "10.9.0.2", "fd09::2":
            assert ask(address, b"hello") == b"hello"
        status = Path(f"/proc/{host.process.pid}/status").read_text().splitlines()
        owners = {line.split()[0]: set(line.split()[1:]) for line in status if line.startswith(("Uid:", "Gid:"))}
        assert owners == {"Uid:": {str(_NOBODY)}, "Gid:": {str(_NOBODY)}}
        endOrderly(host)


@KINDS
def test_aServiceWithoutPrivilegesEndsWhenItsInterfaceIsDeleted(
    namespace: Namespace, nobodysDirectory: Path, mode: str
) -> None:
    with Host(nobodysDirectory, mode, twistdOptions=("--uid", str(_NOBODY), "--gid", str(_NOBODY))) as host:
        delete("tt0")
        host.process.wait(PATIENCE)
        assert not host.pidfile.exists()
        assert "Traceback" not in host.log()


def test_aSecondHostFindsThePidFile(namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        (tmp_path / "other").mkdir()
        process = twistd("-n", f"--pidfile={host.pidfile}", "tuntap", "host", *options(), cwd=tmp_path / "other")
        assert process.wait(PATIENCE) != 0
        assert ask("10.9.0.2", b"still there") == b"still there"


@pytest.mark.parametrize("foreground", [True, False], ids=["foreground", "daemon"])
def test_aFailedStartEndsAndLeavesNoPidFile(namespace: Namespace, tmp_path: Path, foreground: bool) -> None:
    ip("tuntap", "add", "mode", "tap", "name", "tt0")
    how = ["-n"] if foreground else ["-l", str(tmp_path / "daemon.log")]
    process = twistd(*how, "--pidfile=twistd.pid", "tuntap", "host", *options("tun"), cwd=tmp_path)
    try:
        assert process.wait(PATIENCE) != 0
    finally:
        process.kill()
    assert "CannotListenError" in (said := (tmp_path / "twistd.log").read_text()) or "tt0 is a tap" in said
    assert "Traceback" not in said
    # A daemon reports the error to its parent before it removes the file.
    until(lambda: not (tmp_path / "twistd.pid").exists(), "the pid file to go")


def test_withoutKernelAddressesTheInterfaceIsLeftAlone(namespace: Namespace, tmp_path: Path) -> None:
    process = twistd("-n", "--pidfile=twistd.pid", "tuntap", "host", *options(kernelAddresses=()), cwd=tmp_path)
    try:
        until(lambda: "tt0" in interfaces(), "the interface")
        until(lambda: "starting on tt0" in (tmp_path / "twistd.log").read_text(), "the log")
        assert "UP" not in show("tt0")["flags"]
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_optionsSetTheInterface(namespace: Namespace, tmp_path: Path) -> None:
    more = ["--mtu=1400", "--txqueuelen=77", "--kernel-route=10.1.0.0/16 via 10.9.0.2", "--user=nobody"]
    more += ["--lladdr=02:00:00:00:00:09"]
    process = twistd("-n", "--pidfile=", "tuntap", "host", *options("tap"), *more, cwd=tmp_path)
    try:
        until(lambda: "10.1.0.0/16 via 10.9.0.2" in ip("route"), "the route")
        link = show("tt0")
        assert (link["mtu"], link["txqlen"], link["address"]) == (1400, 77, "02:00:00:00:00:09")
        assert link["linkinfo"]["info_data"]["user"] == "nobody"
        assert askUntilAnswered("10.9.0.2", bytes(1400)) == bytes(1400)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_aPersistentInterfaceKeepsItsSettings(namespace: Namespace, tmp_path: Path) -> None:
    kernel = ("10.9.0.1/24 broadcast 10.9.0.255", "fd09::1/64", "10.9.1.1 peer 10.9.1.2/32")
    more = ("--kernel-neighbour=10.9.0.77=02:00:00:00:00:77", "--multi-queue", "--exclusive", "--persistent")
    with Host(tmp_path, "tap", kernelAddresses=kernel, more=more):
        text = ip("address", "show", "tt0")
        for words in "inet 10.9.0.1/24 brd 10.9.0.255", "inet 10.9.1.1 peer 10.9.1.2/32":
            assert words in text
        assert "lladdr 02:00:00:00:00:77 PERMANENT" in ip("neighbour", "show", "10.9.0.77")
        assert show("tt0")["linkinfo"]["info_data"]["multi_queue"]
    # The interface stays, with all its settings.
    assert "inet 10.9.0.1/24" in ip("address", "show", "tt0")


def test_theCarrierCanBeTurnedOff(namespace: Namespace, tmp_path: Path) -> None:
    process = twistd("-n", "--pidfile=", "tuntap", "host", *options(), "--no-carrier", cwd=tmp_path)
    try:
        until(lambda: "tt0" in interfaces() and "NO-CARRIER" in show("tt0")["flags"], "the carrier to go")
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_persistenceCanBeCleared(namespace: Namespace, tmp_path: Path) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    route = "--kernel-route=10.1.0.0/16 metric 5 src 10.9.0.1"
    with Host(tmp_path, more=("--no-persistent", "--carrier", route)) as host:
        assert "metric 5" in ip("route", "show", "10.1.0.0/16")
        assert "src 10.9.0.1" in ip("route", "show", "10.1.0.0/16")
        endOrderly(host)


@KINDS
def test_settingsAreUndone(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    ip("tuntap", "add", "mode", mode, "name", "tt0")
    ip("address", "add", "10.9.5.1/24", "dev", "tt0")
    with Host(tmp_path, mode, more=("--undo", "--mtu=1400", "--kernel-route=10.1.0.0/16")) as host:
        assert show("tt0")["mtu"] == 1400
        endOrderly(host, left={"tt0"})
    (found,) = json.loads(ip("-json", "address", "show", "dev", "tt0"))
    assert (found["mtu"], "UP" in found["flags"]) == (1500, False)
    assert [each["local"] for each in found["addr_info"]] == ["10.9.5.1"]


def test_settingsThatCannotBeUndoneAreLoggedOnce(namespace: Namespace, nobodysDirectory: Path) -> None:
    ip("tuntap", "add", "mode", "tun", "name", "tt0")
    dropped = ("--uid", str(_NOBODY), "--gid", str(_NOBODY))
    with Host(nobodysDirectory, twistdOptions=dropped, more=("--undo", "--mtu=1400")) as host:
        endOrderly(host, left={"tt0"})
        (line,) = [line for line in host.log().splitlines() if "configuration was not restored" in line]
        assert "undo this: set the MTU of tt0 to 1400: Operation not permitted" in line


def _answersIn(namespace: int, process: Program) -> None:
    """
    Wait until a host in another namespace answers.
    """
    with ExitStack() as stack:
        answer = inNamespace(namespace, lambda: stack.enter_context(asking("10.9.0.2", b"hello")))
        until(lambda: process.poll() is not None or answer() == b"hello", "an answer")
    assert process.poll() is None


@KINDS
def test_aServiceRunsInAnotherNamespace(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with another() as there:
        path = f"/proc/{os.getpid()}/fd/{there}"
        process = twistd("-n", "--pidfile=", "tuntap", "host", *options(mode), "--netns", path, cwd=tmp_path)
        try:
            until(lambda: "tt0" in names(there), "the interface")
            _answersIn(there, process)
            assert interfaces() == set()
            # The monitor is in that namespace, too.
            inNamespace(there, lambda: ip("link", "set", "tt0", "mtu", "1300"))
            _answersIn(there, process)
        finally:
            process.terminate()
            process.wait(PATIENCE)
        assert names(there) == set()
        assert "Traceback" not in (tmp_path / "twistd.log").read_text()


@KINDS
def test_privilegesAreDroppedWithTheInterfaceInAnotherNamespace(
    namespace: Namespace, nobodysDirectory: Path, mode: str
) -> None:
    dropped = ("--uid", str(_NOBODY), "--gid", str(_NOBODY))
    with another() as there:
        inNamespace(there, lambda: ip("tuntap", "add", "mode", mode, "name", "tt0"))
        elsewhere = ["--netns", f"/proc/{os.getpid()}/fd/{there}", "--undo"]
        command = ["-n", "--pidfile=", *dropped, "tuntap", "host", *options(mode), *elsewhere]
        process = twistd(*command, cwd=nobodysDirectory)
        try:
            _answersIn(there, process)
            # The monitor is in that namespace, too.
            inNamespace(there, lambda: ip("link", "set", "tt0", "mtu", "1300"))
            _answersIn(there, process)
        finally:
            process.terminate()
            process.wait(PATIENCE)
        said = (nobodysDirectory / "twistd.log").read_text()
        assert "Traceback" not in said
        assert "cannot be watched" not in said
        assert said.count("The previous configuration was not restored: ") == 1


@KINDS
def test_aServiceUsesAHelper(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Helper(tmp_path) as helper:
        with Host(tmp_path, mode, more=("--helper", helper.path, "--mtu=1400")) as host:
            assert show("tt0")["mtu"] == 1400
            assert ask("10.9.0.2", b"hello") == b"hello"
            host.terminate()
            assert "Traceback" not in host.log()
        until(lambda: not interfaces(), "the device to be taken back")


def test_kernelAddressesAreSetOnTheInterface(namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path):
        (found,) = json.loads(ip("-json", "address", "show", "dev", "tt0"))
        addresses = {f"{each['local']}/{each['prefixlen']}" for each in found["addr_info"]}
        assert set(KERNEL_ADDRESSES) <= addresses
        assert "UP" in found["flags"]
