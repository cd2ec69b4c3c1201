"""
Tests for L{txtuntap.tcp.transport}: producers.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost

from tests.tcp.producing import Producer

from .hosts import HostsTestCase


class Pulled:
    """
    A pull producer that declares no interface, and has no C{stopProducing}.
    """

    resumed = 0

    def resumeProducing(self) -> None:
        self.resumed += 1


class ProducerTests(HostsTestCase):
    def test_pushIsPausedAndResumed(self) -> None:
        self.connect()
        producer = Producer()
        transport = self.client.transport
        transport.registerProducer(producer, True)
        transport.write(b"x" * transport.bufferSize)
        self.assertEqual(producer.events, [])
        transport.write(b"x")
        transport.write(b"x" * 1_000_000)
        self.assertEqual(producer.events, ["pause"])
        self.wait(60)
        self.assertEqual(producer.events, ["pause", "resume"])
        self.assertEqual(len(self.server.data), transport.bufferSize + 1_000_001)

    def test_pushIsResumedOnlyOnceAllIsTaken(self) -> None:
        self.connect()
        self.server.transport.pauseProducing()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.write(b"x" * 3_000_000)
        self.wait(10)
        self.assertEqual(producer.events, ["pause"])

    def test_pullIsResumedAsOftenAsItWrites(self) -> None:
        self.connect()
        transport = self.client.transport

        def write() -> None:
            if len(producer.events) < 5:
                transport.write(b"x")

        producer = Producer(write)
        transport.registerProducer(producer, False)
        self.assertEqual(producer.events, ["resume"])
        self.wait()
        self.assertEqual((producer.events, self.server.data), (["resume"] * 5, b"xxxx"))

    def test_aPullProducerLetsOthersRun(self) -> None:
        self.connect()
        producer = Producer(lambda: self.client.transport.write(b"x"))
        self.client.transport.registerProducer(producer, False)
        turns: list[int] = []
        for _ in range(10):
            self.net.clock.callLater(0, lambda: turns.append(len(producer.events)))
        self.net.clock.callLater(0, self.client.transport.abortConnection)
        self.wait()
        self.assertLess(turns[-1], 10)

    def test_closesOnceTheProducerHasUnregistered(self) -> None:
        self.connect()
        transport = self.client.transport
        producer = Producer()
        transport.registerProducer(producer, True)
        transport.loseConnection()
        self.wait()
        self.assertIsNone(self.client.lost)
        transport.write(b"still")
        transport.unregisterProducer()
        self.wait()
        self.assertIsInstance(self.client.lost, ConnectionDone)
        self.assertEqual((self.server.data, producer.events), (b"still", []))

    def test_aSecondProducerIsRefused(self) -> None:
        self.connect()
        self.client.transport.registerProducer(Producer(), True)
        self.assertRaises(RuntimeError, self.client.transport.registerProducer, Producer(), True)

    def test_anObjectWithoutTheMethodsIsRefused(self) -> None:
        """
        An object without the methods of its kind of producer is refused at once, not when it is paused or resumed
        first.
        """
        self.connect()
        transport = self.client.transport
        for value, streaming, lacks in (
            (object(), True, "no resumeProducing and no pauseProducing"),
            (object(), False, "has no resumeProducing$"),
            (Pulled(), True, "has no pauseProducing"),
            (Producer, True, r"give Producer\(\)"),
        ):
            self.assertRaisesRegex(TypeError, lacks, transport.registerProducer, value, streaming)
        pulled = Pulled()
        transport.registerProducer(pulled, False)
        self.assertEqual(pulled.resumed, 1)
        self.server.transport.abortConnection()
        self.wait()
        self.assertIsInstance(self.client.lost, ConnectionLost)

    def test_theProducerStopsWithTheConnection(self) -> None:
        self.connect()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.server.transport.abortConnection()
        self.wait()
        self.assertEqual(producer.events, ["stop"])

    def test_aLateProducerIsStopped(self) -> None:
        self.connect()
        self.client.transport.loseConnection()
        self.wait()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.assertEqual(producer.events, ["stop"])
