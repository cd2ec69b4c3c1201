"""
Fixtures for pytest: a simulated network, a host on it, devices in memory, and interfaces of the kernel::

    pytest_plugins = ["txtuntap.testing.fixtures"]

The line is for a test module, or for the C{conftest.py} at the top of the tests. Nothing loads the fixtures without it.
A fixture of the same name in a test module or in C{conftest.py} takes the place of one of these.

C{realtimeNetwork} needs pytest-twisted, which runs the reactor during each test. Interfaces of the kernel need Linux
and privilege: a test that uses one is skipped without these, and the text of the skip says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from txtuntap.device import TAP, TUN
from txtuntap.device.memory import MemoryDevice
from txtuntap.network.network import Network
from txtuntap.stack.host import Host
from txtuntap.switch.switch import Switch
from txtuntap.testing.namespace import RealInterface

#: The addresses of C{host}. The kernel's end of a real interface has others in the same networks.
ADDRESSES = ("10.0.0.2/24", "fd00::2/64")


@pytest.fixture
def network() -> Iterator[Network]:
    """
    A started L{Network} with simulated time, and with the same random numbers in each run.
    """
    with Network() as made:
        yield made


@pytest.fixture
def switch(network: Network) -> Switch:
    """
    A L{Switch} of C{network}.
    """
    return network.switch()


@pytest.fixture
def host(network: Network, switch: Switch) -> Host:
    """
    A L{Host} at C{switch}, with the addresses C{10.0.0.2/24} and C{fd00::2/64}.
    """
    return network.host(ADDRESSES, switch)


@pytest.fixture
def realtimeNetwork() -> Iterator[Network]:
    """
    A started L{Network} on the reactor of pytest-twisted, in real time. Its end waits until all ports have stopped.
    """
    import pytest_twisted
    from twisted.internet import reactor

    made = Network(clock=reactor)
    made.start()
    yield made
    pytest_twisted.blockon(made.stop())


@pytest.fixture
def memoryTun() -> MemoryDevice:
    """
    A tun device in memory, for C{TuntapPort(..., device=memoryTun)}.
    """
    return MemoryDevice(TUN)


@pytest.fixture
def memoryTap() -> MemoryDevice:
    """
    A tap device in memory, for C{TuntapPort(..., device=memoryTap)}.
    """
    return MemoryDevice(TAP)


@pytest.fixture
def realTun() -> Iterator[RealInterface]:
    """
    A tun interface of the kernel, in a network namespace that the test is in: see L{RealInterface}. The kernel's end
    has the addresses C{10.0.0.1/24} and C{fd00::1/64}.
    """
    with RealInterface(TUN) as made:
        yield made


@pytest.fixture
def realTap() -> Iterator[RealInterface]:
    """
    A tap interface of the kernel, as C{realTun} is a tun.
    """
    with RealInterface(TAP) as made:
        yield made
