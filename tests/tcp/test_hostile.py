"""
Tests for two hosts with an adversary on their link. Their clocks are set, and their machines are suspended.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory
from zope.interface import implementer

from tests.long import lengths
from tests.tcp.hostile import FATES, World
from txtuntap.layer.timer import Timer
from txtuntap.tcp import TCPProtocol
from txtuntap.testing import TAP, TUN
from txtuntap.wire.offload import CSUM, TSO4, TSO6

#: The seconds by which a clock is set, and those for which a machine is suspended.
STEPS = (0.003, 0.5, 7.0, 61.0, 3600.0, 86_400.0, 1e8)
SUSPENSIONS = (0.5, 11.0, 3600.0, 86_400.0, 30 * 86_400.0)

#: The times at which steady clocks begin: at zero, and just before 2^31 and 2^32 milliseconds.
STARTS = (0.0, 2**31 / 1000 - 2.0, 2**32 / 1000 - 2.0, 2**32 / 1000 - 0.01)

#: The seconds after which every connection has ended. They include Linux's time to give a peer up, and TIME-WAIT.
PATIENCE = 3000.0


class Party(Protocol):
    """
    The protocol at one side of a connection. It performs the actions of its script, and then closes the connection.

    @ivar ends: the exceptions of all calls of C{connectionLost}.
    @ivar hasClosed: whether the script has closed or aborted the connection.
    """

    transport: Any

    def __init__(self, world: World, script: list[tuple[float, str, int]], random: Random) -> None:
        self.world = world
        self.script = list(reversed(script))
        self.random = random
        self.written = bytearray()
        self.read = bytearray()
        self.ends: list[Any] = []
        self.isMade = False
        self.hasClosed = False
        self.hasFinished = False

    def connectionMade(self) -> None:
        assert not self.isMade
        self.isMade = True
        self.next()
        self.disturb()

    def dataReceived(self, data: bytes) -> None:
        assert self.isMade
        assert not self.ends
        self.read += data
        self.disturb()

    def connectionLost(self, reason: Any = None) -> None:
        self.ends.append(reason.value)
        self.disturb()

    def disturb(self) -> None:
        """
        Set a clock by chance, in the middle of an iteration of the reactor.
        """
        world, random = self.world, self.random
        if random.random() < world.restlessness:
            random.choice(world.ends).clock.setBy(random.choice(STEPS) * random.choice((1, -1)))

    def next(self) -> None:
        pause = self.script[-1][0] if self.script else 1.0
        self.world.at(self.world.now + pause, self.act)

    def act(self) -> None:
        if self.ends:
            return
        transport = self.transport
        if not self.script:
            self.finish()
            self.disturb()
            return
        _, action, amount = self.script.pop()
        if action == "write":
            self.write(amount)
        elif action == "writeMany":
            for _ in range(10):
                self.write(max(1, amount // 10))
        elif action == "pause":
            transport.pauseProducing()
        elif action == "read":
            transport.resumeProducing()
        elif action == "noDelay":
            transport.setTcpNoDelay(True)
        elif action == "keepAlive":
            transport.setTcpKeepAlive(True)
        elif action == "userTimeout":
            transport.setUserTimeout(20)
        elif action == "close":
            self.hasClosed = True
            transport.loseConnection()
        elif action == "abort":
            self.hasClosed = True
            transport.abortConnection()
        elif action == "halfClose":
            self.hasClosed = True
            transport.loseWriteConnection()
        self.next()
        self.disturb()

    def write(self, amount: int) -> None:
        if not self.hasClosed:
            data = self.random.randbytes(amount)
            self.written += data
            self.transport.write(data)

    def finish(self) -> None:
        """
        Close the connection at the end of the script.
        """
        if self.isMade and not self.ends:
            self.hasClosed = self.hasFinished = True
            self.transport.resumeProducing()
            self.transport.loseConnection()


@implementer(IHalfCloseableProtocol)
class HalfParty(Party):
    """
    A protocol with half-close. It closes its own half some time after its peer's.
    """

    def readConnectionLost(self) -> None:
        assert not self.ends

    def writeConnectionLost(self) -> None:
        assert not self.ends


class Parties(ServerFactory, ClientFactory):
    """
    A factory of the protocols of both sides.
    """

    noisy = False

    def __init__(self, world: World, kind: type[Party], script: list[tuple[float, str, int]], seed: int) -> None:
        self.world = world
        self.kind = kind
        self.script = script
        self.random = Random(seed)
        self.made: list[Party] = []
        self.failed: list[Any] = []

    def buildProtocol(self, addr: Any) -> Party:
        party = self.kind(self.world, self.script, self.random)
        self.made.append(party)
        return party

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.failed.append(reason.value)

    def clientConnectionLost(self, connector: Any, reason: Any) -> None:
        pass


pauses = st.sampled_from([0.0, 0.001, 0.03, 0.5, 5.0, 30.0])
actions = st.lists(
    st.tuples(
        pauses,
        st.sampled_from(
            ["write"] * 4
            + ["writeMany"] * 2
            + ["pause", "read", "noDelay", "keepAlive", "userTimeout", "close", "abort", "halfClose"]
        ),
        st.sampled_from([1, 100, 1460, 5000, 70_000]),
    ),
    max_size=8,
)
parties = st.tuples(st.sampled_from([Party, HalfParty]), actions)
fates = st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 15)), max_size=30)
#: The events of the clocks and hosts: the pause before each, its end, its kind, and its seconds.
happenings = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.004, 0.015, 0.1, 1.0, 8.0, 40.0, 70.0]),
        st.sampled_from([0, 1]),
        st.one_of(
            st.tuples(st.just("set"), st.sampled_from(STEPS), st.sampled_from([1, -1])),
            st.tuples(st.just("unnoticed"), st.sampled_from(STEPS), st.just(1)),
            st.tuples(st.just("suspend"), st.sampled_from(SUSPENSIONS), st.just(1)),
            st.tuples(st.sampled_from(["stopListening", "stopHost"]), st.just(0.0), st.just(1)),
        ),
    ),
    max_size=6,
)
features = st.sampled_from([0, CSUM | TSO4 | TSO6])

CHOICES: dict[str, Any] = {
    "client": parties,
    "server": parties,
    "dest": st.sampled_from(["10.0.0.2", "fd00::2", "10.0.0.2", "fd00::2", "10.0.0.1", "fd00::1", "127.0.0.1", "::1"]),
    "connections": st.integers(1, 3),
    "unclaimed": st.sampled_from([None, None, 0.0, 3.0, 9.9, 11.0]),
    "happenings": happenings,
    "restlessness": st.sampled_from([0.0, 0.0, 0.5]),
    "mode": st.sampled_from([TUN, TAP]),
    "features": st.tuples(features, features),
    "fates": st.tuples(fates, fates),
    "loss": st.sampled_from([0.0, 0.05, 0.2]),
    "mischief": st.sampled_from([0.0, 0.2, 0.6]),
    "delay": st.sampled_from([0.0, 0.0001, 0.02, 0.4]),
    "starts": st.tuples(st.sampled_from(STARTS), st.sampled_from(STARTS)),
    "rates": st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.25, 0.75)]),
    "seed": st.integers(0, 2**32),
}


@lengths("examples", 40, 5_000, "adversary")
def test_dataArrivesOrProtocolsLearnOfAnError(examples: int) -> None:
    """
    Each protocol reads exactly the octets that its peer has written, or gets an error. C{connectionLost} is called
    once, and nothing of the connection is left then. This holds for all fates of packets and clocks.
    """
    settings(max_examples=examples, deadline=None)(given(**CHOICES)(attack))()


def attack(
    client: tuple[type[Party], list[tuple[float, str, int]]],
    server: tuple[type[Party], list[tuple[float, str, int]]],
    dest: str,
    connections: int,
    unclaimed: float | None,
    happenings: list[tuple[float, int, tuple[str, float, int]]],
    seed: int,
    **choices: Any,
) -> None:
    """
    Let protocols on two hosts exchange data over a link, set clocks meanwhile, and check the outcome.

    @param unclaimed: the seconds after which an application answers SYNs to a port without a listener. L{None}: the
        clients connect to a listening port.
    """

    def ask(syn: object) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()

        def answer() -> None:
            if not waiting.called:
                waiting.callback(servers)

        world.at(world.now + (unclaimed or 0.0), answer)
        return waiting

    world = World(seed=seed, tcp=TCPProtocol(unclaimed=ask), **choices)
    try:
        near, far = world.ends[0].host, world.ends[1].host
        world.run(5)
        listening = far if dest.endswith("2") else near
        servers = Parties(world, *server, seed + 1)
        port = listening.listenTCP(80, servers)
        world.isHealed = False
        clients = Parties(world, *client, seed)
        for _ in range(connections):
            near.connectTCP(dest, 80 if unclaimed is None else 81, clients)
        when = world.now
        for pause, number, (what, seconds, sign) in happenings:
            when += pause
            world.at(when, lambda number=number, what=what, seconds=seconds * sign: disturb(number, what, seconds))  # type: ignore[misc]

        def disturb(number: int, what: str, seconds: float) -> None:
            if what == "suspend":
                world.suspend(number, seconds)
            elif what == "stopListening":
                port.stopListening()
            elif what == "stopHost":
                world.ends[number].port.stopListening()
            else:
                world.ends[number].clock.setBy(seconds, what == "set")

        world.run(200)
        world.isHealed = True
        world.run(PATIENCE)
        check(world, clients, servers, connections)
    finally:
        world.stop()
    world.run(1)
    assert not world.events
    assert not any(end.clock.getDelayedCalls() for end in world.ends)


def check(world: World, clients: Parties, servers: Parties, connections: int) -> None:
    """
    Check the outcome of all connections.
    """
    assert not world.failures, world.failures
    assert len(clients.made) + len(clients.failed) == connections
    for party in [*clients.made, *servers.made]:
        assert party.isMade
        assert len(party.ends) == 1, (party.ends, party.transport.connection)
    for one, others in (clients, servers.made), (servers, clients.made):
        for party in one.made:
            peers = [each for each in others if each.written[: len(party.read)] == party.read]
            assert peers or not party.read, "octets that were never written have arrived"
            if type(party.ends[0]) is ConnectionDone and not party.hasClosed:
                assert any(each.written == party.read for each in peers), "data is missing, and there was no error"
    for end in world.ends:
        waiting = [getattr(getattr(call, "func", None), "__self__", None) for call in end.clock.getDelayedCalls()]
        timers = [each.due for each in waiting if isinstance(each, Timer)]
        assert not [due for due in timers if due.__module__.startswith("txtuntap.tcp")], timers
        sizes = {state.name: state.size for state in end.host.tcp.tables() if state.size}
        assert not sizes, sizes
