"""
Tests of interfaces of the kernel for applications' own tests, and of the examples that use them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.paths import EXAMPLES
from tests.real.lab.namespace import PATIENCE, Namespace, interfaces, names, need, needRoot, run, tool
from txtuntap import Host, InterfaceLost, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.testing.namespace import THIS, RealInterface


@pytest.fixture(autouse=True)
def _need() -> None:
    need()


def _identity() -> str:
    return os.readlink(THIS)


async def _pinged(interface: RealInterface, host: Host, proto: Any) -> None:
    """
    Put a host on an interface, and let the kernel and the host ping each other, at all addresses of the kernel's end.
    """
    port = TuntapPort(interface.name, proto)
    port.startListening()
    try:
        for address in interface.addresses:
            kernel = address.partition("/")[0]
            # Over a tap, the host checks for a second that no other host has its IPv6 address.
            assert (await host.ping(kernel, timeout=PATIENCE)).source == kernel
            await deferToThread(run, "ping", "-c", "1", "-w", f"{PATIENCE:.0f}", kernel[:-1] + "2")
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_theKernelIsReachedThroughATun(realTun: RealInterface) -> None:
    host = Host(["10.0.0.2/24", "fd00::2/64"])
    await _pinged(realTun, host, host.ip)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_theKernelIsReachedThroughATap(realTap: RealInterface) -> None:
    host = Host(["10.0.0.2/24", "fd00::2/64"])
    await _pinged(realTap, host, host.ethernet)


def test_theInterfaceIsAloneInItsNamespace(realTun: RealInterface) -> None:
    assert interfaces() == {"tun0"}


@pytest.mark.parametrize("mode", [TUN, TAP])
def test_theTestLeavesTheNamespaceAndNothingInIt(mode: int) -> None:
    outside = _identity()
    with RealInterface(mode) as interface:
        assert _identity() != outside
        assert interface.name in interfaces()
        descriptor = os.open(THIS, os.O_RDONLY)
    assert _identity() == outside
    try:
        # The descriptor keeps the namespace, but the interface was deleted.
        assert names(descriptor) == set()
    finally:
        os.close(descriptor)


def test_anInterfaceThatTheTestDeletesIsNoError(namespace: Namespace) -> None:
    with RealInterface(TUN) as interface:
        run("ip", "link", "delete", interface.name)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_aPortThatStillListensEndsWithItsInterface(namespace: Namespace) -> None:
    with RealInterface(TUN) as interface:
        port = TuntapPort(interface.name, Host(["10.0.0.2/24"]).ip)
        port.startListening()
        lost: Deferred[Any] = port.whenLost()
    with pytest.raises(InterfaceLost):
        await lost


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_threadsOfTheReactorFollowTheTest(namespace: Namespace) -> None:
    for _ in range(2):
        assert await deferToThread(_identity) == _identity()
        with RealInterface(TUN):
            assert await deferToThread(_identity) == _identity()
        assert await deferToThread(_identity) == _identity()


def _example(*command: str, wrapper: tuple[str, ...] = ()) -> str:
    finished = subprocess.run(
        [*wrapper, sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


#: Each runner, with its example and with what it prints: for three tests that pass, and for one that is skipped.
RUNNERS = {
    "pytest": (("pytest", "-rs", "-p", "no:cacheprovider"), "3 passed", "2 passed, 1 skipped"),
    "trial": (("twisted.trial",), "PASSED (successes=3)", "PASSED (skips=1, successes=2)"),
}
eachRunner = pytest.mark.parametrize("runner", RUNNERS)


@eachRunner
def test_theExamplePasses(runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command, passed, _ = RUNNERS[runner]
    assert passed in _example(*command, str(EXAMPLES / f"test_with_{runner}.py"))


@eachRunner
def test_theExampleWithoutPrivilegeIsSkippedWithTheReason(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needRoot()
    monkeypatch.chdir(tmp_path)
    command, _, skipped = RUNNERS[runner]
    without = (tool("setpriv"), "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    printed = _example(*command, str(EXAMPLES / f"test_with_{runner}.py"), wrapper=without)
    assert skipped in printed
    assert "no network namespace: Operation not permitted: run as root (CAP_SYS_ADMIN" in printed


@eachRunner
def test_theExamplePassesInAUserNamespace(runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command, passed, _ = RUNNERS[runner]
    wrapper = (tool("unshare"), "-rn")
    assert passed in _example(*command, str(EXAMPLES / f"test_with_{runner}.py"), wrapper=wrapper)
