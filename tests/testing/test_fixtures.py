"""
Tests of the fixtures for pytest, except for those that need the kernel: L{tests.real.test_fixtures} has these.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from txtuntap import Host, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.network import Network
from txtuntap.switch import Switch
from txtuntap.testing import MemoryDevice, ipPacket
from txtuntap.testing.fixtures import ADDRESSES
from txtuntap.testing.namespace import RealInterface, lacking, lackingDevice


def test_theHostIsReachedOnTheNetwork(network: Network, switch: Switch, host: Host) -> None:
    far = network.host(["10.0.0.1/24", "fd00::1/64"], switch, "delay 20ms")
    for address in ADDRESSES:
        pong = network.result(far.ping(address.partition("/")[0]))
        assert f"{pong.source}/{address.partition('/')[2]}" == address
    assert network.switches == [switch]


@pytest.fixture
def ended(request: pytest.FixtureRequest) -> list[Network]:
    """
    A list of networks, which are checked to be stopped after all other fixtures have ended.
    """
    networks: list[Network] = []
    # This fixture is made first, so its end comes last.
    request.addfinalizer(lambda: _checkStopped(networks))
    return networks


def _checkStopped(networks: list[Network]) -> None:
    (network,) = networks
    # Only a network that is stopped can be started.
    network.start()
    network.stop()


def test_theNetworkIsStoppedAfterTheTest(ended: list[Network], network: Network) -> None:
    ended.append(network)
    with pytest.raises(RuntimeError, match="started already"):
        network.start()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_aNetworkRunsInRealTime(ended: list[Network], realtimeNetwork: Network) -> None:
    ended.append(realtimeNetwork)
    near = realtimeNetwork.host("10.0.0.1/24")
    realtimeNetwork.host("10.0.0.2/24", near, "delay 1ms")
    assert (await near.ping("10.0.0.2", timeout=60)).source == "10.0.0.2"


def test_devicesInMemoryAreOfTheirKind(memoryTun: MemoryDevice, memoryTap: MemoryDevice) -> None:
    assert (memoryTun.mode, memoryTap.mode) == (TUN, TAP)


def test_aPortTakesADeviceInMemory(memoryTun: MemoryDevice) -> None:
    clock = Clock()
    TuntapPort("", Host(["10.0.0.2/24"], clock).ip, reactor=clock, device=memoryTun).startListening()
    memoryTun.deliver(ipPacket("10.0.0.1", "10.0.0.2", 99, b""))
    clock.advance(0)
    assert len(memoryTun.sent) == 1


@pytest.mark.parametrize("loaded", [False, True])
def test_nothingLoadsTheFixturesUnasked(tmp_path: Path, loaded: bool) -> None:
    line = 'pytest_plugins = ["txtuntap.testing.fixtures"]\n' if loaded else ""
    (tmp_path / "test_it.py").write_text(f"{line}def test_it(): pass\n")
    command = [sys.executable, "-m", "pytest", "--fixtures", "-p", "no:cacheprovider"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert ("realTun" in listed, "memoryTap" in listed) == (loaded, loaded)


def test_theToolsForTrialNeedNoPytest() -> None:
    program = (
        "import sys; sys.modules.update(pytest=None, pytest_twisted=None);"
        "import txtuntap.testing, txtuntap.testing.namespace; print('imported')"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "imported\n"


def test_theReasonOfASkipNamesTheMissingPlatform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    reason = lacking()
    assert reason is not None
    assert "Linux" in reason
    assert "darwin" in reason


@pytest.mark.linux
def test_theReasonOfASkipNamesTheMissingDevice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("txtuntap.device.linux.device.NODE", bytes(tmp_path / "tun"))
    assert (
        lackingDevice()
        == f"{tmp_path}/tun cannot be opened (No such file or directory): 'modprobe tun', or run as root"
    )
    assert lacking() == lackingDevice()


def test_aRealInterfaceOfAnotherKindIsAValueError() -> None:
    with pytest.raises(ValueError, match="TUN"):
        RealInterface(3)
