"""
The control socket of a running service.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from twisted.python.failure import Failure

from tests.real.lab.asking import asking
from tests.real.lab.capturing import COMMAND, ENVIRONMENT, Capturing, assertClean, fields, runCapture
from tests.real.lab.ending import endOrderly
from tests.real.lab.guest import openNode, unprivileged
from tests.real.lab.host import Host, ask, options, twistd
from tests.real.lab.link import delete, setUp
from tests.real.lab.namespace import PATIENCE, ROOT, Namespace, another, ip, needRoot, until
from tests.real.lab.reactors import Run, onOneReactor
from tests.real.test_service import nobodysDirectory
from tests.real.test_superpackets import Wrapper
from txtuntap import Host as HostStack
from txtuntap.device import TUN
from txtuntap.device.controlname import fileName, namespaceNumber
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.middleware import Capture
from txtuntap.service import InterfaceService, InterfaceServiceSettings
from txtuntap.service.observe.control import MAX_CLIENTS, ControlSocket
from txtuntap.service.observe.socketdirectory import locked, removeStaleSockets
from txtuntap.testing import udpPacket

__all__ = ["nobodysDirectory"]

_NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """
    Return the directory of the control socket of a service on tt0 in this namespace.
    """
    needRoot()
    directory = Path("/run/txtuntap")
    yield directory
    # Remove the sockets that services without privileges have left, as the next service would do.
    with locked(str(directory)):
        removeStaleSockets(str(directory))


def bindStale(path: Path) -> None:
    """
    Leave a socket that nobody listens on. A service of another test may have removed the one that was left there.
    """
    with socket.socket(socket.AF_UNIX) as stale, locked(str(path.parent)):
        if not path.exists():
            stale.bind(str(path))


def pathIn(directory: Path) -> Path:
    return directory / fileName(namespaceNumber(), "tt0")


def test_onlyItsUserMayUseTheSocketWhichTheServiceRemoves(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        path = pathIn(place)
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert (path.stat().st_mode & 0o777, place.stat().st_mode & 0o777) == (0o600, 0o700)
        endOrderly(host)
        assert not path.exists()


def test_withoutControlThereIsNoSocket(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path, more=("--no-control",)):
        assert not pathIn(place).exists()


def test_aSocketThatAKilledServiceLeftIsReplaced(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.process.kill()
        host.process.wait()
    path = pathIn(place)
    bindStale(path)
    with Host(tmp_path, twistdOptions=("--pidfile=",)), Capturing(tmp_path / "trace") as capturing:
        capturing.stop()
        # The command used the socket of the service, and not a packet socket.
        assert path.exists()
    assert not path.exists()


def test_theSocketOfARunningServiceIsNotReplaced(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    multi = "--multi-queue", "--persistent"
    with Host(tmp_path, more=multi) as host:
        before = pathIn(place).stat().st_ino
        arguments = options(addresses=("10.9.0.3/24",), kernelAddresses=())
        (tmp_path / "other").mkdir()
        other = twistd("-n", "--pidfile=", "tuntap", "host", *arguments, "--multi-queue", cwd=tmp_path / "other")
        try:
            log = tmp_path / "other" / "twistd.log"
            until(lambda: "tt0 has no control socket: another service has" in log.read_text(), "a line in the log")
        finally:
            other.terminate()
            other.wait(PATIENCE)
        assert pathIn(place).stat().st_ino == before
        assert host.process.poll() is None


def test_aServiceThatDropsPrivilegesKeepsItsSocket(
    place: Path, namespace: Namespace, nobodysDirectory: Path, tmp_path: Path
) -> None:
    dropped = "--uid", str(_NOBODY), "--gid", str(_NOBODY)
    with Host(nobodysDirectory, twistdOptions=dropped) as host, Capturing(tmp_path / "trace") as capturing:
        assert ask("10.9.0.2", b"hello") == b"hello"
        said = capturing.stop()
        assert pathIn(place).exists() and "no control socket" not in host.log()
        assert said == ["2 packets captured", "0 packets dropped"] or int(said[0].split()[0]) > 2
        assertClean(tmp_path / "trace")
        endOrderly(host)
    # The service has no permission to remove the socket any more. The next service removes it.
    path = pathIn(place)
    bindStale(path)
    with Host(tmp_path, twistdOptions=("--pidfile=",)):
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("runtime", [True, False], ids=["XDG_RUNTIME_DIR", "none"])
def test_theSocketOfAUserIsInTheRuntimeDirectory(namespace: Namespace, nobodysDirectory: Path, runtime: bool) -> None:
    # The user owns the device and runs the service.
    ip("tuntap", "add", "mode", "tun", "name", "tt0", "user", str(_NOBODY))
    ip("address", "add", "10.9.0.1/24", "dev", "tt0")
    ip("link", "set", "tt0", "up")
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "XDG_RUNTIME_DIR"}
    if runtime:
        environment["XDG_RUNTIME_DIR"] = str(nobodysDirectory)
    log = nobodysDirectory / "log"
    node = str(openNode(nobodysDirectory))
    arguments = ["--tun", "tt0", "--address", "10.9.0.2/24", "--udp", "7=echo", "--node", node]
    with log.open("w") as out:
        service = subprocess.Popen(
            [*unprivileged(), sys.executable, "-m", "twisted", "--log-format=text", "tuntap", "host", *arguments],
            stdout=out,
            stderr=out,
            cwd=nobodysDirectory,
            env=environment,
        )
    path = nobodysDirectory / "txtuntap" / fileName(namespaceNumber(), "tt0")
    try:
        with asking("10.9.0.2", b"hello") as answer:
            until(lambda: service.poll() is not None or answer(), "an answer")
        assert path.exists() == runtime, log.read_text()
        capturing = subprocess.Popen(
            [*unprivileged(), *COMMAND, "capture", "tt0", "-w", str(nobodysDirectory / "trace"), "--count", "2"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            until(lambda: ask("10.9.0.2", b"hello") and capturing.poll() is not None, "two packets")
            _, said = capturing.communicate()
        finally:
            capturing.kill()
            capturing.wait()
        if runtime:
            assert said == "2 packets captured\n0 packets dropped\n"
        else:
            assert "tt0 has no control socket: XDG_RUNTIME_DIR is not set" in log.read_text()
            assert "no service of this user's holds tt0, and a packet socket takes CAP_NET_RAW" in said
    finally:
        service.terminate()
        service.wait(PATIENCE)
    assert "Traceback" not in log.read_text()
    assert not path.exists()


def test_aDirectoryThatOthersMayEnterIsNotUsed(namespace: Namespace, nobodysDirectory: Path, tmp_path: Path) -> None:
    needRoot()
    directory = tmp_path / "run"
    with locked(str(directory)):
        assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o711)
    with pytest.raises(OSError, match="not this user's alone"), locked(str(directory)):
        pass
    directory.chmod(0o700)
    os.chown(directory, _NOBODY, _NOBODY)
    with pytest.raises(OSError, match="not this user's alone"), locked(str(directory)):
        pass
    os.chown(directory, 0, 0)
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(OSError), locked(str(tmp_path / "link")):
        pass


def test_aClientThatReadsNothingDelaysNoTraffic(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(pathIn(place)))
            client.sendall(b'{"capture": {}}\n')
            for _ in range(300):
                # These are more octets than all buffers hold.
                assert ask("10.9.0.2", bytes(8000), seconds=PATIENCE) == bytes(8000)
            path = tmp_path / "trace"
            with Capturing(path) as capturing:
                assert ask("10.9.0.2", b"hello") == b"hello"
                assert capturing.stop()[1] == "0 packets dropped"
        endOrderly(host)


def test_aSocketOfAnotherUserIsNotUsed(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with LinuxDevice("tt0", TUN), socket.socket(socket.AF_UNIX) as stranger:
        setUp("tt0", "10.9.0.1/24")
        # Without the lock, a service of another test removes the socket before it listens.
        with locked(str(place)):
            stranger.bind(str(pathIn(place)))
            os.seteuid(_NOBODY)
            try:
                # The kernel records the user of a listening socket at this call.
                stranger.listen()
            finally:
                os.seteuid(0)
        with Capturing(tmp_path / "trace") as capturing:
            connection, _ = stranger.accept()
            with connection:
                assert connection.recv(100) == b""
            capturing.stop()


def test_aServiceThatAcceptsNoClientIsNotWaitedFor(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    path = pathIn(place)
    with LinuxDevice("tt0", TUN), socket.socket(socket.AF_UNIX) as stuck, ExitStack() as stack:
        setUp("tt0", "10.9.0.1/24")
        with locked(str(place)):
            stuck.bind(str(path))
            stuck.listen(0)
        full = False
        while not full:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            full = client.connect_ex(str(path)) == errno.EAGAIN
        with Capturing(tmp_path / "trace") as capturing:
            capturing.stop()


@onOneReactor
async def test_theNamespaceIsKnownWithoutPrivileges(run: Run) -> None:
    if not ROOT:
        # Only root has a directory for the socket.
        return
    with another() as there:
        # Another process has opened the device, in the other namespace.
        device = inNamespace(there, lambda: LinuxDevice("tt0", TUN).__enter__())
        with device:
            number = os.fstat(there).st_ino
            control = ControlSocket(Capture(None, HostStack(["10.9.0.2/24"], run.reactor).ip), run.reactor)
            control.open(device)
            try:
                with pytest.MonkeyPatch.context() as patched:
                    # From here on, the calls of a process without privileges fail.
                    patched.setattr(fcntl, "ioctl", refused)
                    assert control.namespace() == number
                assert Path("/run/txtuntap", fileName(number, "tt0")).exists()
            finally:
                await control.close()


def refused(*ignored: object) -> None:
    """
    Fail as a system call of a process without privileges.
    """
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("moved", [False, True], ids=["renamed", "moved"])
def test_anotherInterfaceWithTheFormerNameIsCapturedItself(
    place: Path, namespace: Namespace, tmp_path: Path, moved: bool
) -> None:
    with another() as there, Host(tmp_path) as host:
        if moved:
            # The interface loses its addresses when it is moved.
            ip("link", "set", "tt0", "netns", f"/proc/{os.getpid()}/fd/{there}")
        else:
            ip("link", "set", "tt0", "name", "tt1")
        with LinuxDevice("tt0", TUN) as device:
            setUp("tt0")
            with Capturing(tmp_path / "trace", "--count", "1", "--direction", "out") as capturing:
                if not moved:
                    assert ask("10.9.0.2", b"hello") == b"hello"
                device.send([udpPacket("10.8.0.2", "10.8.0.1", 4000, 7, b"other")])
                assert capturing.ended(0)[0] == "1 packets captured"
        assert "Traceback" not in host.log()
    assert fields(tmp_path / "trace", "ip", "ip.src") == [["10.8.0.2"]]


def test_aClientAboveTheBoundIsRefused(place: Path, namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path), ExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(pathIn(place)))
        status, said = runCapture("tt0", "-w", str(tmp_path / "trace"))
        assert status == 1
        assert said.startswith("txtuntap: the service that holds tt0 does not answer"), said


@onOneReactor
async def test_theCaptureAcceptsOffloadOnlyIfItsProtocolDoes(run: Run) -> None:
    for wrapped in True, False:
        host = HostStack(["10.9.0.2/24"], run.reactor)
        proto = Wrapper(host.ip, TUN) if wrapped else host.ip
        service = InterfaceService(InterfaceServiceSettings(device=LinuxDevice("tt0", TUN)), proto, run.reactor)
        service.privilegedStartService()
        service.startService()
        assert isinstance(service.port.protocol, Capture)
        assert (service.port.offloads == 0) == wrapped
        await service.stopService()


class _Staying(InterfaceService):
    """
    A service that continues without its interface, as a switch does.
    """

    def _lost(self, reason: Failure) -> None:
        pass


@onOneReactor
async def test_theSocketIsRemovedWhenTheInterfaceIsDeleted(run: Run) -> None:
    if not ROOT:
        # Only root has a directory for the socket.
        return
    settings = InterfaceServiceSettings(device=LinuxDevice("tt0", TUN))
    service = _Staying(settings, HostStack(["10.9.0.2/24"], run.reactor).ip, run.reactor)
    service.privilegedStartService()
    service.startService()
    path = pathIn(Path("/run/txtuntap"))
    assert path.exists()
    delete("tt0")
    await run.until(lambda: not path.exists(), "the socket to go")
    await service.stopService()
