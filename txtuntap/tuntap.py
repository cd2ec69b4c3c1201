"""
The port, which attaches a protocol to a TUN or TAP device through the reactor.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

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
from txtuntap.device.clockstep import followClock
from txtuntap.device.delivery import Delivery
from txtuntap.device.following import Following
from txtuntap.device.lost import InterfaceLost, reasonOfEnd
from txtuntap.device.reading import ReadingPort
from txtuntap.device.refusals import MAX_REFUSALS, Refusals
from txtuntap.interfaces import IBatches, IDevice, IPacketTransport
from txtuntap.ip.stackon import stackOn
from txtuntap.layer.batches import Batches
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.life import FailureLog, startOn, stopOn, tell
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.mistakes import checkClock, checkOctets
from txtuntap.wire.offload import USO, Offload, countPackets

if TYPE_CHECKING:
    from txtuntap.device.interfaces import IClockSteps, IMonitor

__all__ = ["InterfaceLost", "TunnelAddress", "TunnelFlags", "TuntapPort"]


@implementer(IListeningPort, IPacketTransport)
class TuntapPort(ReadingPort):
    """
    A port, which attaches a protocol to a TUN or TAP device through the reactor.

    With offload, a read may return and a write may send a superpacket, which stands for several packets of a flow. The
    kernel computes and verifies checksums. When the port starts, it agrees on the features with the device
    (C{device.offloads}). A protocol without C{takesOffload} (see
    L{IPacketReceiver<txtuntap.interfaces.IPacketReceiver>}) receives the packets as they are on the wire.

    Counters, as in RFC 2863: C{inPackets}, C{inOctets}, C{outPackets}, C{outOctets} (each packet of a superpacket
    counts), C{outErrors} (refused by the kernel), C{outLinkDown}, C{outDiscards} (the port was not listening, or the
    kernel had no room), C{protocolFailures} (exceptions). Counters of offload: C{inSuperpackets}, C{outSuperpackets},
    C{inOffloadErrors} (the offload record contradicts the packet), C{inUnknownOffloads} (the record is of an unknown
    type), C{outRefusedOffloads} (the kernel refused an unfinished packet, which was then finished here and sent again).

    @ivar interface: the name of the interface; once listening, the name that the kernel chose.
    @ivar protocol: the protocol that was given.
    @ivar ethernet: 1 on a tap, 0 on a tun.
    @ivar device: the L{IDevice} below.
    @ivar maxPacketSize: the most octets of a packet that are read. A longer packet is cut, and its C{partial} is true.
    @ivar maxThroughput: the number of octets after which reading stops in one turn of the reactor.
    @ivar maxPackets: the number of packets after which reading stops in one turn of the reactor.
    @ivar readEnd: functions to call when all packets of the present read are delivered; C{None} outside of a read.
    @ivar counters: the number of events of each kind, by name.
    """

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
        mode: int | None = None,
    ) -> None:
        """
        @param interface: the interface's name, at most 15 bytes. The interface is created if it does not exist. In
            C{tap%d}, the kernel replaces C{%d} by the next free number.
        @param proto: an C{IEthernetProtocol} for a tap, or an C{IRawPacketProtocol} for a tun. An
            C{IRawDatagramProtocol} also gets a tun: it is added to an L{IPProtocol<txtuntap.ip.IPProtocol>}, under 17
            (L{RawUDPProtocol<txtuntap.udp.layer.RawUDPProtocol>}) or under its C{protocolNumber}. Any other object with
            a method C{packetReceived} needs C{mode}, or a C{device}.
        @param maxPacketSize: the most octets of a packet that are read; C{None}: the length of the longest packet.
        @param system: replaces the operating system's calls of the platform's device, as in C{twisted.pair}.
        @param device: the device to use; C{None}: this platform's device of the name C{interface}.
        @param monitor: an L{InterfaceMonitor<txtuntap.device.monitor.InterfaceMonitor>}, or a
            L{SharedMonitor<txtuntap.device.monitor.SharedMonitor>}, whose reports the port passes to the protocol. The
            caller starts and stops the monitor.
        @param protocolInformation: whether the kernel adds four octets, flags and EtherType, before each packet.
        @param offload: whether superpackets and open checksums are received and sent. C{None}: if the kernel and
            C{proto} support them. C{False}: never. C{True}: always, and finished for C{proto} if that needs it.
        @param mode: C{TUN} or C{TAP}, for a C{proto} without one of these
            interfaces. C{None}: the interface tells, or the C{device}.

        @raise TypeError: C{proto}, C{reactor} or C{device} is not of a kind that is named above.
        @raise ValueError: another argument has a wrong value, or C{device} does not fit C{proto} or C{interface}.
        @raise OSError: this platform has no device of this kind, or lacks a thing that was asked for (C{ENOTSUP}).
        """
        self._top, mode = stackOn(proto, mode, device)
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
        # FileDescriptor's annotation allows less than is used here: IReactorFDSet and IReactorTime.
        self.reactor: Any
        self.protocol = proto
        self.ethernet = int(mode == TAP)
        self.device = device
        self.maxPacketSize = maxPacketSize
        self._now = steadySeconds(self.reactor)
        self._following = None if monitor is None else Following(device, monitor, self._interfaceChanged)
        self.counters = PacketCounters()
        self._mode = TunnelFlags.IFF_TAP if mode == TAP else TunnelFlags.IFF_TUN
        self._failures = FailureLog(self.protocol, self.counters)
        self._batches = Batches(self.reactor, self._failures)
        self._delivery = Delivery(self._top, mode == TAP, self.counters, self._failures, self._batches)
        self._refusals = Refusals(device, mode == TAP, self.counters, self.writePacket, self._offloadWithdrawn)
        self._offload = offload if self._delivery.takesOffload or self._delivery.onlySends or offload else False
        self._stopping: list[Deferred[None]] = []
        self._losing: list[Deferred[None]] = []
        self._ending: Failure | None = None
        self._closing = Timer(self.reactor, self.connectionLost)
        self._readTurn = Timer(self.reactor, self.readNow)
        # The watch that re-arms the reactor's timers when the wall clock is set, while this port listens.
        self._clockSteps: IClockSteps | None = None
        # The reactor's shutdown trigger, which stops this port.
        self._trigger: Any = None
        self.logstr = f"{self._getLogPrefix(self.protocol)} ({self._mode.name})"

    def __repr__(self) -> str:
        state = "" if self.connected else "not "
        name = fullyQualifiedName(self.protocol.__class__)
        return f"<{name} {state}listening on {self._mode.name}/{self.interface!r}>"

    # Start and stop

    def startListening(self) -> None:
        """
        Open the device, start the protocol and begin to read. A stopped port can be started again.

        @raise CannotListenError: the port listens already, or the device cannot be opened. The text says what to do.
        """
        try:
            if self.connected:
                raise OSError(errno.EBUSY, "this port is listening already")
            self.device.open(self._offload)
            if self._delivery.onlySends and self.device.offloads:
                self.device.receiveFinished()
        except OSError as e:
            raise CannotListenError("tap" if self.ethernet else "tun", os.fsdecode(self.interface), e) from e
        self.connected = 1
        self.prepareToRead()
        self._refusals.reset()
        self.disconnected = self.disconnecting = False
        if self._following is not None:
            self._following.start()
        self.interface = os.fsencode(self.device.name)
        self._log.info("{prefix} starting on {interface}", prefix=self.logstr, interface=printable(self.device.name))
        if IReactorCore.providedBy(self.reactor):
            # The reactor disconnects only the descriptors that it reads. This trigger stops all other ports.
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

        @return: a Deferred that fires with C{None} when the device is closed.
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
        Stop this port like L{stopListening}. This method is deprecated.
        """
        warnings.warn("Use stopListening() to stop a TuntapPort", DeprecationWarning, stacklevel=2)
        self.stopListening()

    def whenLost(self) -> Deferred[None]:
        """
        @return: a Deferred that fails when this port ends, or at once if it has ended: with L{InterfaceLost} (the
            interface was deleted), C{ConnectionDone} (the port or the reactor was stopped) or the error of a read.
        """
        if self._ending is not None and not self.connected:
            return fail(self._ending)
        waiting: Deferred[None] = Deferred()
        self._losing.append(waiting)
        return waiting

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Stop the protocol and close the device. L{startListening} can start this port again. C{reason} is the error of a
        read or of the descriptor; C{None}: the port or the reactor stops.
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
        # FileDescriptor.connectionLost would stop writing, and a reactor without descriptors has no method for that.
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
        Close the device, and fire the Deferreds of L{stopListening}.
        """
        self.connected = 0
        # A read that is under way has to end, because another file may get the number of the closed descriptor.
        self.disconnecting = True
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
        End this port because the reactor shuts down.
        """
        # The reactor has removed the trigger that it is calling, so _ended must not remove it.
        self._trigger = None
        self.connectionLost()

    def _interfaceChanged(self, mtuChanged: bool, cameUp: bool) -> None:
        """
        Pass on a change of the interface that the monitor has reported.
        """
        self.interface = os.fsencode(self.device.name)
        if mtuChanged:
            self._batches.routesChanged()
            tell(self._top, "mtuChanged", self._failures, self._now)
        if cameUp:
            tell(self._top, "linkUp", self._failures, self._now)

    # Sent packets

    @property
    def mtu(self) -> int:
        """
        The most octets that IP may put into one packet.
        """
        return self.device.mtu

    @property
    def linkAddress(self) -> bytes | None:
        """
        The link address of the kernel's side of a tap, six octets; C{None} for a tun.
        """
        return self.device.linkAddress

    @property
    def clock(self) -> IReactorTime:
        """
        The clock that gives the C{time} of received packets: the reactor.
        """
        return cast(IReactorTime, self.reactor)

    @property
    def offloads(self) -> int:
        """
        The work that may be unfinished in a packet to send, as bits of L{txtuntap.wire.offload}.
        """
        return self.device.offloads

    @property
    def batches(self) -> IBatches | None:
        """
        The object that collects datagrams into superpackets; C{None} if the device sends no UDP superpackets.
        """
        return self._batches if self.device.offloads & USO else None

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet: see L{IPacketTransport.writePacket}. Work that the device cannot finish is finished here.
        """
        if self._batches.train is not None:
            self._batches.release()
        counters = self.counters
        if offload is not None and offload.features & ~self.device.offloads:
            return self._refusals.writeFinished(b"".join(buffers), offload)
        if not self.connected:
            counters["outDiscards"] += countPackets(buffers, offload)[0]
            return
        try:
            octets = self.device.send(buffers) if offload is None else self.device.send(buffers, offload)
        except OSError as e:
            self._refused(e)
            return self._refusals.refused(e, buffers, offload)
        count = 1
        if offload is not None:
            self._refusals.taken |= offload.features
            if offload.isSuperpacket:
                count, octets = countPackets(buffers, offload)
                counters["outSuperpackets"] += 1
        counters.outPackets += count
        counters.outOctets += octets

    def _refused(self, error: OSError) -> None:
        """
        End this port soon if a write has found that the interface is lost. A reactor may not report that by itself.
        """
        if error.errno == EBADFD and not self._closing.armed:
            self._closing.arm(0)

    def _offloadWithdrawn(self) -> None:
        """
        Log that an offload feature is given up. Begin an epoch, because the routes found before rely on that feature.
        """
        self._log.warn(
            "{prefix}: the kernel has refused {count} unfinished packets on {interface}."
            " Packets of this kind are finished by this process from now on.",
            prefix=self.logstr,
            count=MAX_REFUSALS,
            interface=printable(self.device.name),
        )
        self._batches.routesChanged()

    def write(self, data: bytes) -> int | None:  # type: ignore[override]
        """
        Send one complete packet, and raise if the device refuses it.

        @return: the number of octets that were written; C{None} if the link is down, which is counted.

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
            self._refused(e)
            if e.errno != errno.EIO:
                raise
            self.counters["outLinkDown"] += 1
            return None
        self.counters.outPackets += 1
        self.counters.outOctets += octets
        return octets

    def writeSequence(self, seq: Iterable[bytes]) -> None:
        """
        Send one packet that is given in several pieces: see L{write}.
        """
        self.write(b"".join(seq))

    def logPrefix(self) -> str:
        """
        The prefix of this port's log lines.
        """
        return self.logstr

    def getHost(self) -> TunnelAddress:
        """
        Return the mode and the name of the interface that this port is on.
        """
        return TunnelAddress(self._mode, self.interface)
