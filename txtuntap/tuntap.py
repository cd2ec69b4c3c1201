"""
The port: a TUN or TAP device on the reactor, with a protocol above it.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import abstract
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IListeningPort, IReactorCore, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import fullyQualifiedName
from zope.interface import implementer

from txtuntap.device import EBADFD, LONGEST_PACKET, TAP, interfaceName, printable
from txtuntap.device.address import TunnelAddress, TunnelFlags
from txtuntap.device.choice import deviceFor
from txtuntap.device.delivery import Delivery
from txtuntap.device.following import Following
from txtuntap.device.linux.clockstep import ClockSteps, followClock
from txtuntap.device.lost import InterfaceLost, interfaceLost, reasonOfEnd
from txtuntap.device.refusals import MAX_REFUSALS, Refusals
from txtuntap.interfaces import IBatches, IDevice, IPacketTransport
from txtuntap.ip.stackon import stackOn
from txtuntap.layer.batches import Batches
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.life import FailureLog, callEach, startOn, stopOn, tell
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.mistakes import checkClock, checkOctets
from txtuntap.wire.offload import USO, Offload, countPackets, segments

if TYPE_CHECKING:
    from txtuntap.device.interfaces import IMonitor

__all__ = ["InterfaceLost", "TunnelAddress", "TunnelFlags", "TuntapPort"]


@implementer(IListeningPort, IPacketTransport)
class TuntapPort(abstract.FileDescriptor):
    """
    Attaches a protocol to a TUN or TAP device through the reactor.

    With offload, many datagrams come in one read and leave in one write, and checksums are the kernel's business. How
    much of that there is, the port agrees with the device when it starts (C{device.offloads}). A protocol that does not
    take it (L{IPacketReceiver<txtuntap.interfaces.IPacketReceiver>} tells how one says so) gets packets as on the wire.

    Counters, as in RFC 2863: C{inPackets}, C{inOctets}, C{outPackets}, C{outOctets}, C{outErrors} (the kernel refused
    it), C{outLinkDown}, C{outDiscards} (the port was not listening, or the kernel had no room); C{protocolFailures};
    and C{inSuperpackets} and C{outSuperpackets} (many in one: above they count as the many), C{inOffloadErrors} and
    C{inUnknownOffloads} (what was left open cannot be, or is of a kind that nobody knows), C{outRefusedOffloads} (the
    kernel refused a packet that is not finished: it was finished here, and sent again).

    @ivar interface: the name of the interface; once listening, the one the kernel gave it.
    @ivar protocol: the protocol given.
    @ivar ethernet: 1 on a tap, 0 on a tun.
    @ivar device: the L{IDevice} below.
    @ivar maxPacketSize: how many octets of a packet are read. The rest of a longer one is lost: it is C{partial}.
    @ivar maxThroughput: octets that are read in one turn of the reactor, about.
    @ivar maxPackets: packets that are read in one turn of the reactor.
    @ivar readEnd: functions to call when all packets of the read that is under way are delivered; L{None}: there is no
        read.
    @ivar counters: how often each thing happened, by name.
    """

    maxThroughput = 1024 * 1024
    maxPackets = 1024
    readEnd: list[Callable[[], object]] | None = None

    _log = Logger()

    def __init__(
        self,
        interface: str | bytes,
        proto: Any,
        maxPacketSize: int | None = None,
        reactor: Any = None,
        system: Any = None,
        device: IDevice | None = None,
        protocolInformation: bool = False,
        monitor: IMonitor | None = None,
        offload: bool | None = None,
    ) -> None:
        """
        @param interface: a name of at most 15 bytes, made if there is none such; C{tap%d} takes the next free number.
        @param proto: an C{IEthernetProtocol}, for a tap; an C{IRawPacketProtocol}, for a tun; or, on a tun too, an
            C{IRawDatagramProtocol}, which is put above an L{IPProtocol<txtuntap.ip.IPProtocol>}:
            L{RawUDPProtocol<txtuntap.udp.layer.RawUDPProtocol>} as UDP, another under its C{protocolNumber}.
        @param maxPacketSize: how many octets of a packet are read; L{None}: as many as any packet has.
        @param system: stands in for the operating system under the Linux device, as in C{twisted.pair}.
        @param device: the device to use; by default, a Linux one of this name.
        @param monitor: an L{InterfaceMonitor<txtuntap.device.monitor.InterfaceMonitor>} or a
            L{SharedMonitor<txtuntap.device.monitor.SharedMonitor>}, which several ports may have. The port follows the
            changes of its interface that it tells of, and tells the protocol. Its maker starts and stops it.
        @param protocolInformation: have the kernel send four octets of flags and EtherType with each packet.
        @param offload: whether packets come and go as superpackets, with checksums left to the kernel. L{None}: as far
            as the kernel can and C{proto} takes them; L{False}: not; L{True}: always (cut where C{proto} takes none).

        @raise TypeError: C{proto} is none of these.
        @raise ValueError: C{interface} is no name or not that of C{device}, or C{device} is of the wrong kind.
        """
        self._top, mode = stackOn(proto)
        self.interface = interfaceName(interface)
        if reactor is not None:
            checkClock(reactor, "the reactor")
        if offload not in (None, True, False):
            raise ValueError(f"offload is True, False or None, not {offload!r}")
        device = deviceFor(proto, mode, device, interface, protocolInformation, system)
        maxPacketSize = LONGEST_PACKET if maxPacketSize is None else maxPacketSize
        if not isinstance(maxPacketSize, int) or maxPacketSize < 1:
            raise ValueError(f"maxPacketSize is a number of octets, at least 1, not {maxPacketSize!r}")
        super().__init__(reactor)
        # FileDescriptor says less of the reactor than is used: IReactorFDSet and IReactorTime.
        self.reactor: Any
        self.protocol = proto
        self.ethernet = int(mode == TAP)
        self.device = device
        self.maxPacketSize = maxPacketSize
        # Whether a device without a descriptor is to call when packets have come.
        self._awaits = False
        self._now = steadySeconds(self.reactor)
        self._following = None if monitor is None else Following(device, monitor, self._interfaceChanged)
        self.counters = PacketCounters()
        self._mode = TunnelFlags.IFF_TAP if mode == TAP else TunnelFlags.IFF_TUN
        self._failures = FailureLog(self.protocol, self.counters)
        self._batches = Batches(self.reactor, self._failures)
        self._delivery = Delivery(self._top, mode == TAP, self.counters, self._failures, self._batches)
        self._refusals = Refusals(device, mode == TAP, self.counters, self.writePacket, self._offloadWithdrawn)
        self._offload = offload if self._delivery.takesOffload or offload else False
        self._stopping: list[Deferred[None]] = []
        self._losing: list[Deferred[None]] = []
        self._ending: Failure | None = None
        self._closing = Timer(self.reactor, self.connectionLost)
        self._readTurn = Timer(self.reactor, self._readNow)
        # The watch that calls the timers when the wall clock was set, while this port listens.
        self._clockSteps: ClockSteps | None = None
        # Ends this port with the reactor.
        self._trigger: Any = None
        self.logstr = f"{self._getLogPrefix(self.protocol)} ({self._mode.name})"

    def __repr__(self) -> str:
        state = "" if self.connected else "not "
        name = fullyQualifiedName(self.protocol.__class__)
        return f"<{name} {state}listening on {self._mode.name}/{self.interface!r}>"

    # Life

    def startListening(self) -> None:
        """
        Open the device, start the protocol and begin to read. Again, after L{stopListening}, too.

        @raise CannotListenError: the device cannot be opened; the text says why, and what to do.
        """
        try:
            if self.connected:
                raise OSError(errno.EBUSY, "this port is listening already")
            self.device.open(self._offload)
        except OSError as e:
            raise CannotListenError("tap" if self.ethernet else "tun", os.fsdecode(self.interface), e) from e
        self.connected = 1
        self._refusals.reset()
        self.disconnected = self.disconnecting = False
        if self._following is not None:
            self._following.start()
        self.interface = os.fsencode(self.device.name)
        self._log.info("{prefix} starting on {interface}", prefix=self.logstr, interface=printable(self.device.name))
        if IReactorCore.providedBy(self.reactor):
            # The reactor disconnects only what it reads: neither a device without a descriptor, nor a port whose
            # stopListening waits for a turn that does not come any more.
            self._trigger = self.reactor.addSystemEventTrigger("during", "shutdown", self._shutDown)
        try:
            self._clockSteps = followClock(self.reactor)
            startOn(self._top, self)
            try:
                if not self.disconnecting:
                    self.startReading()
            except BaseException:
                stopOn(self._top)
                raise
        except BaseException:
            self._ended()
            raise

    def stopListening(self) -> Deferred[None]:
        """
        Stop reading, stop the protocol and close the device.

        @return: a Deferred that fires when that is done.
        """
        if not self.connected:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stopping.append(done)
        if not self.disconnecting:
            self.disconnecting = True
            self.stopReading()
            self._closing.arm(0)
        return done

    def loseConnection(self, _connDone: Any = None) -> None:
        """
        L{stopListening}, under an older name.
        """
        warnings.warn("Use stopListening() to stop a TuntapPort", DeprecationWarning, stacklevel=2)
        self.stopListening()

    def whenLost(self) -> Deferred[None]:
        """
        @return: a Deferred that fails with the reason when this port ends: L{InterfaceLost} when its interface was
            deleted, C{ConnectionDone} when it was stopped, or the reactor was. If it has ended already, it fails with
            the reason of that.
        """
        if self._ending is not None and not self.connected:
            return fail(self._ending)
        waiting: Deferred[None] = Deferred()
        self._losing.append(waiting)
        return waiting

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        The port ends: called by the reactor, or, without a C{reason}, by L{stopListening}.
        """
        if not self.connected:
            return
        reason = Failure(ConnectionDone()) if self.disconnecting else reasonOfEnd(self.device, self.reactor, reason)
        self._ending = reason
        if reason.check(ConnectionDone):
            self._log.info("{prefix} stopped on {interface}", prefix=self.logstr, interface=printable(self.device.name))
        else:
            self._log.error("{prefix}: {reason}", prefix=self.logstr, reason=reason.getErrorMessage())
        self._batches.endTurn()
        # Not FileDescriptor's own: it has writing to stop, which a reactor without descriptors knows nothing of.
        self.stopReading()
        self.disconnected = 1
        losing, self._losing = self._losing, []
        try:
            stopOn(self._top)
        except Exception:
            self._failures.failed(self._now(), "stopProtocol")
        finally:
            self._ended()
        for each in losing:
            each.errback(reason)

    def _ended(self) -> None:
        """
        Close the device, and tell whoever asked for that.
        """
        self.connected = 0
        if self._following is not None:
            self._following.stop()
        self.device.close()
        self._closing.stop()
        self._readTurn.stop()
        if self._clockSteps is not None:
            self._clockSteps.leave()
            self._clockSteps = None
        if self._trigger is not None:
            self.reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None
        stopping, self._stopping = self._stopping, []
        for done in stopping:
            done.callback(None)

    def _shutDown(self) -> None:
        """
        The reactor ends, and has disconnected what it reads.
        """
        # A trigger that is being called is no longer there to be removed.
        self._trigger = None
        self.connectionLost()

    def _interfaceChanged(self, mtuChanged: bool, cameUp: bool) -> None:
        """
        The interface is another than it was.
        """
        self.interface = os.fsencode(self.device.name)
        if mtuChanged:
            self._batches.routesChanged()
            tell(self._top, "mtuChanged", self._failures, self._now)
        if cameUp:
            tell(self._top, "linkUp", self._failures, self._now)

    # Up

    def fileno(self) -> int:
        """
        The device's descriptor; -1 if it is closed or has none.
        """
        return self.device.fileno()

    def startReading(self) -> None:
        """
        Begin, or go on, to read.
        """
        if self.device.fileno() >= 0:
            super().startReading()  # type: ignore[no-untyped-call]
        else:
            self._awaits = True
            self.device.readable(self._readSoon)

    def stopReading(self) -> None:
        """
        Leave what comes where it is.
        """
        if self.device.fileno() >= 0:
            super().stopReading()  # type: ignore[no-untyped-call]
        else:
            self._awaits = False
            self.device.readable(None)

    def doRead(self) -> Exception | None:
        """
        Packets are waiting: take some of them, and hand each to the protocol.
        """
        # Locals, since each of these is needed for each packet.
        receive = self.device.receive
        delivery = self._delivery
        deliver = delivery.receive
        maxPacketSize = self.maxPacketSize
        maxPackets = self.maxPackets
        maxThroughput = self.maxThroughput
        takesOffload = delivery.takesOffload
        now = self._now()
        packets = octets = 0
        ends: list[Callable[[], object]] = []
        self.readEnd = ends
        self._batches.beginRead()
        try:
            while packets < maxPackets and octets < maxThroughput and not self.disconnecting:
                packet = receive(maxPacketSize)
                if packet is None:
                    break
                length = packet.end - packet.start
                packet.port = self
                packet.time = now
                offload = packet.offload
                if offload is not None and (
                    offload.isSuperpacket or packet.end < offload.least or length > maxPacketSize or not takesOffload
                ):
                    count, length = delivery.deliverUnfinished(packet, offload, maxPacketSize)
                    packets += count
                    octets += length
                    continue
                packets += 1
                octets += length
                # Delivery.deliver, inlined: 60 ns of 2,150 a packet.
                try:
                    deliver(packet)
                except Exception:
                    delivery.failed(now)
        except OSError as e:
            if e.errno in (EBADFD, errno.ENODEV):
                return interfaceLost(self.device, e)
            raise
        finally:
            self.counters.inPackets += packets
            self.counters.inOctets += octets
            self.readEnd = None
            callEach(ends, self._failures, now)
            self._batches.endRead()
        return None

    def _readSoon(self) -> None:
        """
        A device without a descriptor has something: read it in a turn of its own.
        """
        if not self._readTurn.armed:
            self._readTurn.arm(0)

    def _readNow(self) -> None:
        if self._awaits and self.connected and not self.disconnecting:
            try:
                why = self.doRead()
            except Exception:
                # As a reactor does with what has a descriptor.
                self._log.failure("{prefix} cannot read", prefix=self.logstr)
                self.connectionLost(Failure())
                return
            if why is not None:
                self.connectionLost(Failure(why))
            elif self._awaits and self.connected and not self.disconnecting:
                # Perhaps it did not get to the end.
                self.device.readable(self._readSoon)

    # Down

    @property
    def mtu(self) -> int:
        """
        The most octets that IP may put into one packet.
        """
        return self.device.mtu

    @property
    def linkAddress(self) -> bytes | None:
        """
        The link address of the kernel's end of a tap.
        """
        return self.device.linkAddress

    @property
    def clock(self) -> IReactorTime:
        """
        The clock that tells the time of packets: the reactor.
        """
        return cast(IReactorTime, self.reactor)

    @property
    def offloads(self) -> int:
        """
        The work that may be left open in a packet.
        """
        return self.device.offloads

    @property
    def batches(self) -> IBatches | None:
        """
        The object that lets datagrams wait to leave as one; L{None} if the device takes no superpackets of UDP.
        """
        return self._batches if self.device.offloads & USO else None

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet: see L{IPacketTransport.writePacket}. What the device does not finish is finished here.
        """
        if self._batches.train is not None:
            self._batches.release()
        counters = self.counters
        if offload is not None and offload.features & ~self.device.offloads:
            return self._refusals.writeFinished(b"".join(buffers), offload)
        if not self.connected:
            counters["outDiscards"] += countPackets(sum(map(len, buffers)), offload)[0]
            return
        try:
            octets = self.device.send(buffers) if offload is None else self.device.send(buffers, offload)
        except OSError as e:
            return self._refusals.refused(e, buffers, offload)
        count = 1
        if offload is not None:
            self._refusals.taken |= offload.features
            if offload.isSuperpacket:
                count, octets = segments(octets, offload)
                counters["outSuperpackets"] += 1
        counters.outPackets += count
        counters.outOctets += octets

    def _offloadWithdrawn(self) -> None:
        """
        The kernel cannot finish what it has said it can: what was found out about routes counts on that.
        """
        self._log.warn(
            "{prefix}: the kernel has refused {count} packets that were left to it to finish on {interface}."
            " Packets of their kind are finished here from now on.",
            prefix=self.logstr,
            count=MAX_REFUSALS,
            interface=printable(self.device.name),
        )
        self._batches.routesChanged()

    def write(self, data: bytes) -> int | None:  # type: ignore[override]
        """
        Send one packet, and hear of it if the device does not take it.

        @return: how many octets were written; L{None} if the link is down, which is counted.

        @raise OSError: the device refused the packet, or the port is not listening.
        """
        if not self.connected:
            raise OSError(errno.EBADF, "the port is not listening: call startListening() first")
        checkOctets(data)
        if self._batches.train is not None:
            self._batches.release()
        try:
            octets = self.device.send([data])
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            self.counters["outLinkDown"] += 1
            return None
        self.counters.outPackets += 1
        self.counters.outOctets += octets
        return octets

    def writeSequence(self, seq: Iterable[bytes]) -> None:
        """
        L{write} one packet made of several pieces.
        """
        self.write(b"".join(seq))

    def logPrefix(self) -> str:
        """
        The prefix of this port's log lines.
        """
        return self.logstr

    def getHost(self) -> TunnelAddress:
        """
        The interface this port is on.
        """
        return TunnelAddress(self._mode, self.interface)
