"""
A service that is started and stopped repeatedly in one process, on each reactor.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory

from tests.real.lab.host import options
from tests.real.lab.link import show
from tests.real.lab.namespace import ROOT, interfaces
from tests.real.lab.reactors import Run, descriptors, onEachReactor
from tests.real.test_port import onBothKinds
from tests.service.inprocess import application
from txtuntap.device import TAP
from txtuntap.device.controlname import fileName, namespaceNumber

_SETTINGS = ("--mtu", "1400", "--kernel-route", "10.1.0.0/16")


def held(run: Run) -> dict[str, Any]:
    """
    Return the resources that a service holds while it runs.
    """
    return {
        "descriptors": descriptors(),
        "readers": len(run.reactor.getReaders()),
        "writers": len(run.reactor.getWriters()),
        "delayed calls": list(map(str, run.reactor.getDelayedCalls())),
        "interfaces": interfaces(),
        "control socket": ROOT and control().exists(),
    }


def control() -> Path:
    """
    Return the path of the control socket of a service on tt0.
    """
    return Path("/run/txtuntap", fileName(namespaceNumber(), "tt0"))


async def live(run: Run, service: Any) -> None:
    """
    Start a service, let the kernel and a client of its control socket use it, and stop it.
    """
    service.privilegedStartService()
    service.startService()
    assert show("tt0")["mtu"] == 1400
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_UNIX) as capturing,
    ):
        if ROOT:
            capturing.connect(str(control()))
            capturing.send(b'{"capture": {}}\n')
            await run.until(lambda: came(capturing), "a capture")
        await run.until(lambda: answer(client) == b"hello", "an answer")
        await service.stopService()


def came(client: socket.socket) -> bytes:
    """
    Return the datagram that was received, or C{b""} if there is none yet.
    """
    with suppress(BlockingIOError):
        return client.recv(65535, socket.MSG_DONTWAIT)
    return b""


def answer(client: socket.socket) -> bytes:
    """
    Send a datagram, and return an answer to this or to an earlier one, or C{b""} if there is none yet.
    """
    client.sendto(b"hello", ("10.9.0.2", 7))
    return came(client)


async def assertHoldsNothing(run: Run, made: Callable[[], Any], lives: int = 10) -> None:
    """
    Run a service several times, and check that it holds no resources that did not exist before its first run.

    @param made: returns the service for the next run.
    @param lives: the number of runs.
    """
    # Twisted reserves a descriptor (for EMFILE) at the first listening port of a process, and keeps it.
    await run.reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()
    before = held(run)
    for number in range(lives):
        await live(run, made())
        after = held(run)
        assert after == before, f"after life {number}: {after}, not {before}"


def arguments(mode: int) -> list[str]:
    """
    Return the arguments of C{twistd tuntap} for the service.
    """
    return ["host", *options("tap" if mode == TAP else "tun"), *_SETTINGS]


@onEachReactor
@onBothKinds
async def test_newServicesHoldNothingOfFormerOnes(run: Run, mode: int) -> None:
    await assertHoldsNothing(run, lambda: application(*arguments(mode)))


@onEachReactor
@onBothKinds
async def test_aRestartedServiceHoldsNothingOfItsFormerRun(run: Run, mode: int) -> None:
    service = application(*arguments(mode))
    await assertHoldsNothing(run, lambda: service)


@pytest.mark.long("lives")
@onEachReactor
@onBothKinds
async def test_aHundredServicesHoldNothingOfFormerOnes(run: Run, mode: int) -> None:
    await assertHoldsNothing(run, lambda: application(*arguments(mode)), 100)
