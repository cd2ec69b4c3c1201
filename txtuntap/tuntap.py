"""
The port: a TUN or TAP device on the reactor, with a protocol above it.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

from constantly import FlagConstant, Flags
from twisted.internet import abstract
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorCore, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import fullyQualifiedName
from zope.interface import implementer

from txtuntap.device import EBADFD, LONGEST_PACKET, TAP, TUN, interfaceName, printable
from txtuntap.device.following import Following
from txtuntap.device.linux import ioctl
from txtuntap.device.linux.clockstep import ClockSteps, followClock
from txtuntap.interfaces import (
    IBatchTransport,
    IDevice,
    IEthernetProtocol,
    IRawDatagramProtocol,
    IRawPacketProtocol,
    ITrain,
)
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.ability import knowsPackets, takesOffload
from txtuntap.layer.life import FailureLog, connect, disconnect
from txtuntap.layer.pair import deviceReceiver
from txtuntap.layer.table import Receiver
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.mistakes import checkClock, checkOctets, instead
from txtuntap.packet import Packet
from txtuntap.shutdown import isShuttingDown
from txtuntap.udp.layer import RawUDPProtocol
from txtuntap.wire import udp
from txtuntap.wire.offload import (
    CSUM,
    MAX_DATAGRAMS_BEFORE,
    TSO_ECN,
    UDP,
    Offload,
    divide,
    fault,
    finish,
    networkStart,
    segments,
)

if TYPE_CHECKING:
    from txtuntap.device.monitor import IMonitor

__all__ = ["InterfaceLost", "TunnelAddress", "TunnelFlags", "TuntapPort"]


class TunnelFlags(Flags):  # type: ignore[misc]
    """
    Flags of a TUN or TAP device, as in C{linux/if_tun.h}.
    """

    IFF_TUN = FlagConstant(ioctl.IFF_TUN)
    IFF_TAP = FlagConstant(ioctl.IFF_TAP)
    IFF_NAPI = FlagConstant(ioctl.IFF_NAPI)
    IFF_NAPI_FRAGS = FlagConstant(ioctl.IFF_NAPI_FRAGS)
    IFF_NO_CARRIER = FlagConstant(ioctl.IFF_NO_CARRIER)
    IFF_MULTI_QUEUE = FlagConstant(ioctl.IFF_MULTI_QUEUE)
    IFF_PERSIST = FlagConstant(ioctl.IFF_PERSIST)
    IFF_NO_PI = FlagConstant(ioctl.IFF_NO_PI)
    IFF_ONE_QUEUE = FlagConstant(ioctl.IFF_ONE_QUEUE)
    IFF_VNET_HDR = FlagConstant(ioctl.IFF_VNET_HDR)
    IFF_TUN_EXCL = FlagConstant(ioctl.IFF_TUN_EXCL)


#: Why a packet is not sent, where the kernel says so by a number.
_OUT_COUNTERS = {
    errno.EIO: "outLinkDown",
    errno.EAGAIN: "outDiscards",
    errno.ENOBUFS: "outDiscards",
    errno.ENOMEM: "outDiscards",
}

#: Packets that the kernel refuses for what is left open in them, and takes finished, before nothing of the kind is left
#: open any more: where it has never taken one.
MAX_REFUSALS = 4

#: Of UDP and TCP.
_LONGEST_HEADER = 60


@implementer(IAddress)
class TunnelAddress:
    """
    The interface a L{TuntapPort} is on.

    @ivar type: L{TunnelFlags.IFF_TUN} or L{TunnelFlags.IFF_TAP}.
    @ivar name: the interface's name.
    """

    def __init__(self, type: FlagConstant, name: bytes) -> None:
        self.type = type
        self.name = name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TunnelAddress):
            return NotImplemented
        # Flags that were computed are not the constants they equal (Twisted issue 6878).
        return (self.type.value, self.name) == (other.type.value, other.name)

    def __hash__(self) -> int:
        return hash((self.type.value, self.name))

    def __repr__(self) -> str:
        return f"<TunnelAddress type={self.type.name} name={self.name!r}>"

    def __getitem__(self, index: int) -> Any:
        warnings.warn("A TunnelAddress has attributes: use .name", DeprecationWarning, stacklevel=2)
        return ("TUNTAP", self.name)[index]


class InterfaceLost(ConnectionLost):
    """
    The interface under a port is gone.
    """

    MESSAGE = "The network interface is gone"


@implementer(IListeningPort, IBatchTransport)
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
    @ivar maxPacketSize: how many octets of a packet are read, headers of the device's own aside. Of a longer one the
        rest is lost, and C{partial} is set.
    @ivar maxThroughput: octets that are read in one turn of the reactor, about.
    @ivar maxPackets: packets that are read in one turn of the reactor.
    @ivar counters: how often each thing happened, by name.
    """

    maxThroughput = 1024 * 1024
    maxPackets = 1024

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
            C{IRawDatagramProtocol}, which is put above an L{IPProtocol}: L{RawUDPProtocol} as UDP, another under its
            C{protocolNumber}.
        @param maxPacketSize: how many octets of a packet are read; L{None}: all that the link carries, whatever MTU it
            has, or will have, and what comes before that: the Ethernet header, and tags.
        @param system: stands in for the operating system under the Linux device, as in C{twisted.pair}.
        @param device: the device to use; by default, a Linux one of this name.
        @param monitor: what tells that the interface is renamed, has another MTU or link address, is set up, or was
            moved to another network namespace: what the port knows of it follows, and the protocol is told. An
            L{InterfaceMonitor<txtuntap.device.monitor.InterfaceMonitor>}, which several ports may have, or a
            L{SharedMonitor<txtuntap.device.monitor.SharedMonitor>}. It is started, before or after the port, and
            stopped by whoever made it.
        @param protocolInformation: have the kernel send four octets of flags and EtherType with each packet.
        @param offload: whether packets come and go as few large ones, with checksums left to the kernel. L{None}: as
            far as the kernel can and C{proto} takes it; L{False}: not at all; L{True}: it has to be so. What C{proto}
            does not take is then cut for it.

        @raise TypeError: C{proto} is none of these.
        @raise ValueError: C{interface} is no name or not that of C{device}, or C{device} is of the wrong kind.
        """
        self._top, mode = _stackOn(proto)
        self.interface = interfaceName(interface)
        if reactor is not None:
            checkClock(reactor, "the reactor")
        if offload not in (None, True, False):
            raise ValueError(f"offload is True, False or None, not {offload!r}")
        if device is None:
            # On other platforms there is no such module, and may be another device.
            from txtuntap.device.linux.device import LinuxDevice

            device = LinuxDevice(self.interface, mode, protocolInformation, system)
        elif not IDevice.providedBy(device):
            raise TypeError(f"{device!r} is no device, such as LinuxDevice(name, TUN) or MemoryDevice(TUN)")
        elif device.mode != mode:
            wanted, kind = ("tap", "tun") if mode == TAP else ("tun", "tap")
            raise ValueError(f"{proto!r} goes on a {wanted}, and the device is a {kind}")
        elif protocolInformation or system is not None:
            raise ValueError("protocolInformation and system go with the device: give them to LinuxDevice")
        elif (
            self.interface and device.name and b"%" not in self.interface and self.interface != os.fsencode(device.name)
        ):
            raise ValueError(f"the interface is {interface!r}, and that of the device {device.name!r}: give one name")
        if maxPacketSize is None:
            maxPacketSize = LONGEST_PACKET
        if not isinstance(maxPacketSize, int) or maxPacketSize < 1:
            raise ValueError(f"maxPacketSize is a number of octets, at least 1, not {maxPacketSize!r}")
        super().__init__(reactor)
        # What FileDescriptor says of it is less than what is used: IReactorFDSet and IReactorTime.
        self.reactor: Any
        self.protocol = proto
        self.ethernet = int(mode == TAP)
        self.device = device
        self.maxPacketSize = maxPacketSize
        self._takesOffload = takesOffload(self._top)
        self._offload = offload if self._takesOffload or offload else False
        self.turn = 0
        self._reading = False
        # Of a device without a descriptor: whether it is to tell of what has come.
        self._awaits = False
        # While many datagrams in one are being delivered, answers to them are collected.
        self._answering = False
        # The way that the latest datagram of this turn went.
        self._latestWay = b""
        self._train: ITrain | None = None
        # Whether the latest train was of one datagram.
        self._leftAlone = False
        self._batches: set[_Batch] = set()
        # Features of packets that the kernel took unfinished; and how often it refused those that it never took.
        self._taken = 0
        self._refusals: Counter[int] = Counter()
        self._now = steadySeconds(self.reactor)
        self._turnEnd = Timer(self.reactor, self._turnEnds)
        self._following = None if monitor is None else Following(device, monitor, self._happened)
        self.counters: Counter[str] = Counter()
        self._mode = TunnelFlags.IFF_TAP if mode == TAP else TunnelFlags.IFF_TUN
        self._failures = FailureLog(self.protocol, self.counters)
        # The method that packets come by.
        self._method = "packetReceived" if knowsPackets(self._top) else "datagramReceived"
        self._receive: Receiver = self._top.packetReceived if knowsPackets(self._top) else deviceReceiver(self._top)
        self._stopping: list[Deferred[None]] = []
        self._losing: list[Deferred[None]] = []
        self._ending: Failure | None = None
        self._closing = Timer(self.reactor, self.connectionLost)
        self._readTurn = Timer(self.reactor, self._readNow)
        # What tells the timers that the wall clock was set, while this port listens.
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
            kind = "tap" if self._mode is TunnelFlags.IFF_TAP else "tun"
            raise CannotListenError(kind, os.fsdecode(self.interface), e) from e
        self.interface = os.fsencode(self.device.name)
        self.connected = 1
        self._clockSteps = followClock(self.reactor)
        self._taken = 0
        self._refusals.clear()
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
            connect(self._top, self)
            try:
                if not self.disconnecting:
                    self.startReading()
            except BaseException:
                disconnect(self._top)
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
        lost: Deferred[None] = Deferred()
        self._losing.append(lost)
        return lost

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        The port ends: called by the reactor, or, without a C{reason}, by L{stopListening}.
        """
        if not self.connected:
            return
        reason = self._ending = self._reasonFor(reason)
        if reason.check(ConnectionDone):
            name = printable(self.device.name)
            self._log.info("{prefix} stopped on {interface}", prefix=self.logstr, interface=name)
        else:
            self._log.error("{prefix}: {reason}", prefix=self.logstr, reason=reason.getErrorMessage())
        self._turnEnds()
        # Not FileDescriptor's own: it has writing to stop, which a reactor without descriptors knows nothing of.
        self.stopReading()
        self.disconnected = 1
        losing, self._losing = self._losing, []
        try:
            disconnect(self._top)
        except Exception:
            self._failures.failed(self._now(), "stopProtocol")
        finally:
            self._ended()
        for lost in losing:
            lost.errback(reason)

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

    def _happened(self, mtuChanged: bool, cameUp: bool) -> None:
        """
        The interface is another than it was.
        """
        self.interface = os.fsencode(self.device.name)
        if mtuChanged:
            self.waysChanged()
            self._tellProtocol("mtuChanged")
        if cameUp:
            self._tellProtocol("linkUp")

    def _tellProtocol(self, method: str) -> None:
        if callable(getattr(self._top, method, None)):
            try:
                getattr(self._top, method)()
            except Exception:
                self._failures.failed(self._now(), method)

    def _reasonFor(self, reason: Failure | None) -> Failure:
        if self.disconnecting:
            return Failure(ConnectionDone())
        if reason is None or reason.check(ConnectionDone) or reason.type is ConnectionLost:
            # Reactors on poll and epoll see that the descriptor is in error and do not say which.
            try:
                self.device.receive()
            except OSError as e:
                return Failure(self._lost(e))
            if isShuttingDown(self.reactor):
                return Failure(ConnectionDone())
            # It is still being deleted: a moment before its end a device reads as if nothing were.
            return Failure(InterfaceLost(f"{printable(self.device.name)} was deleted"))
        return reason

    def _lost(self, error: OSError) -> InterfaceLost:
        return InterfaceLost(f"{printable(self.device.name)} was deleted ({error.strerror})")

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
        deliver = self._receive
        maxPacketSize = self.maxPacketSize
        maxPackets = self.maxPackets
        maxThroughput = self.maxThroughput
        takesOffload = self._takesOffload
        now = self._now()
        packets = octets = 0
        self._reading = True
        self.turn += 1
        self._latestWay = b""
        self._leftAlone = False
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
                    count, length = self._offloadReceived(packet, offload)
                    packets += count
                    octets += length
                    continue
                packets += 1
                octets += length
                try:
                    deliver(packet)
                except Exception:
                    self._failures.failed(now, self._method)
        except OSError as e:
            if e.errno in (EBADFD, errno.ENODEV):
                return self._lost(e)
            raise
        finally:
            self.counters["inPackets"] += packets
            self.counters["inOctets"] += octets
            self._reading = False
            if self._train is not None or self._batches:
                # Also of a batch that was left open.
                self._turnEnds()
        return None

    def _offloadReceived(self, packet: Packet, offload: Offload) -> tuple[int, int]:
        """
        A packet has come that cannot go up as it is, or not without a look at it: it is many in one, or too long, or
        the protocol takes none that is not finished.

        @return: how many packets it is, and how many octets these have.
        """
        count, octets = 1, len(packet)
        longest = octets
        if offload.isSuperpacket:
            packet.network = networkStart(packet.data, packet.start) if self.ethernet else packet.start
        wrong = fault(packet.data, offload, packet.network or packet.start)
        if wrong is not None:
            self.counters[wrong] += 1
            return count, octets
        if offload.isSuperpacket:
            self.counters["inSuperpackets"] += 1
            count, octets = segments(len(packet.data), offload, packet.start)
            longest = offload.checksumStart - packet.start + _LONGEST_HEADER + offload.size
        if self._takesOffload and longest <= self.maxPacketSize:
            before, self._answering = self._answering, offload.isSuperpacket
            try:
                self._receive(packet)
            except Exception:
                self._failures.failed(packet.time, self._method)
            self._answering = before
            return count, octets
        for each in packet.finished():
            if len(each) > self.maxPacketSize:
                each.partial = True
                each.end = each.start + self.maxPacketSize
                each.data = each.data[: each.end]
            self._deliver(each)
        return count, octets

    def _deliver(self, packet: Packet) -> None:
        try:
            self._receive(packet)
        except Exception:
            self._failures.failed(packet.time, self._method)

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
        What tells the time of packets: the reactor.
        """
        return cast(IReactorTime, self.reactor)

    @property
    def offloads(self) -> int:
        """
        What may be left open in a packet.
        """
        return self.device.offloads

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet: see L{IPacketTransport.writePacket}. What the device does not finish is finished here.
        """
        if self._train is not None:
            self.release()
        counters = self.counters
        if offload is not None and offload.features & ~self.device.offloads:
            return self._writeFinished(b"".join(buffers), offload)
        if not self.connected:
            counters["outDiscards"] += _packets(sum(map(len, buffers)), offload)[0]
            return
        try:
            octets = self.device.send(buffers) if offload is None else self.device.send(buffers, offload)
        except OSError as e:
            name = _OUT_COUNTERS.get(e.errno or 0)
            if name is None and offload is not None:
                return self._refused(b"".join(buffers), offload)
            counters[name or "outErrors"] += _packets(sum(map(len, buffers)), offload)[0]
            return
        if offload is None:
            counters["outPackets"] += 1
        else:
            self._taken |= offload.features
            if offload.isSuperpacket:
                count, octets = segments(octets, offload)
                counters["outPackets"] += count
                counters["outSuperpackets"] += 1
            else:
                counters["outPackets"] += 1
        counters["outOctets"] += octets

    def _refused(self, data: bytes, offload: Offload) -> None:
        """
        The kernel refuses a packet, perhaps for what is left open in it: send it finished.
        """
        counters = self.counters
        counters["outRefusedOffloads"] += 1
        if offload.type == UDP and _packets(len(data), offload)[0] > MAX_DATAGRAMS_BEFORE:
            network = networkStart(data) if self.ethernet else 0
            if fault(data, offload, network) is None:
                for packet, left in divide(data, offload, network, MAX_DATAGRAMS_BEFORE):
                    self.writePacket([packet], left)
                return
        before = counters["outPackets"]
        self._writeFinished(data, offload)
        # A packet that is refused when it is finished, too, says nothing about offload.
        if counters["outPackets"] > before:
            self._doubt(offload.features)

    def _doubt(self, features: int) -> None:
        """
        The kernel may be unable to finish what it has said it can. A kernel that has ever taken such a packet is not
        doubted: whoever can make it refuse one, by way of a switch or a tunnel, does not decide for others.

        @param features: what was left open in the packet that it refused.
        """
        doubted = features & TSO_ECN or features & ~CSUM or CSUM
        if doubted & ~self._taken:
            self._refusals[doubted] += 1
            if self._refusals[doubted] == MAX_REFUSALS:
                # All else takes open checksums.
                self.device.offloads &= 0 if doubted == CSUM else ~doubted
                self._log.warn(
                    "{prefix}: the kernel has refused {count} packets that were left to it to finish on {interface}."
                    " Packets of their kind are finished here from now on.",
                    prefix=self.logstr,
                    count=MAX_REFUSALS,
                    interface=printable(self.device.name),
                )
                self.waysChanged()

    def _writeFinished(self, data: bytes, offload: Offload) -> None:
        network = networkStart(data) if self.ethernet else 0
        if fault(data, offload, network) is not None:
            self.counters["outErrors"] += 1
            return
        for packet in finish(data, offload, network):
            self.writePacket([packet])

    def batch(self) -> AbstractContextManager[None]:
        """
        Within it, datagrams to one destination may leave as one: see L{IBatchTransport.batch}.
        """
        return _Batch(self)

    def collects(self, way: bytes) -> bool:
        """
        Whether a datagram may wait: see L{IBatchTransport.collects}. The first one of a turn does not, but for answers
        to many in one.
        """
        before, self._latestWay = self._latestWay, way
        if self._answering or self._batches:
            # Where one leaves alone, others are likely to.
            return before == way or not self._leftAlone
        return before == way and self._reading

    def hold(self, train: ITrain) -> None:
        """
        Have datagrams wait: see L{IBatchTransport.hold}.
        """
        self.release()
        self._train = train

    def release(self) -> None:
        """
        Have what waits leave: see L{IBatchTransport.release}.
        """
        train, self._train = self._train, None
        if train is not None:
            self._leftAlone = train.leave() == 1

    def waysChanged(self) -> None:
        """
        See L{IBatchTransport.waysChanged}.
        """
        self.release()
        self.turn += 1

    def batchBegins(self, batch: _Batch) -> None:
        """
        A L{batch} has been entered.
        """
        if not self._batches and not self._reading:
            self.turn += 1
            self._latestWay = b""
            self._leftAlone = False
            # A coroutine may wait within it. What it has written does not.
            self._turnEnd.arm(0)
        self._batches.add(batch)

    def batchEnds(self, batch: _Batch) -> None:
        """
        It has been left.
        """
        self._batches.discard(batch)
        if not self._batches and not self._reading:
            self._turnEnds()

    def _turnEnds(self) -> None:
        """
        Nothing waits for a later turn.
        """
        self._batches.clear()
        self._turnEnd.stop()
        try:
            self.release()
        except Exception:
            self._failures.failed(self._now(), "write")

    def write(self, data: bytes) -> int | None:  # type: ignore[override]
        """
        Send one packet, and hear of it if the device does not take it.

        @return: how many octets were written; L{None} if the link is down, which is counted.

        @raise OSError: the device refused the packet, or the port is not listening.
        """
        if not self.connected:
            raise OSError(errno.EBADF, "the port is not listening: call startListening() first")
        checkOctets(data)
        if self._train is not None:
            self.release()
        try:
            octets = self.device.send([data])
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            self.counters["outLinkDown"] += 1
            return None
        self.counters["outPackets"] += 1
        self.counters["outOctets"] += octets
        return octets

    def writeSequence(self, seq: Iterable[bytes]) -> None:
        """
        L{write} one packet made of several pieces.
        """
        self.write(b"".join(seq))

    def logPrefix(self) -> str:
        """
        What log lines of this port begin with.
        """
        return self.logstr

    def getHost(self) -> TunnelAddress:
        """
        The interface this port is on.
        """
        return TunnelAddress(self._mode, self.interface)


class _Batch:
    """
    While it is entered, a port collects datagrams.
    """

    def __init__(self, port: TuntapPort) -> None:
        self._port = port

    def __enter__(self) -> None:
        self._port.batchBegins(self)

    def __exit__(self, *ignored: object) -> None:
        self._port.batchEnds(self)


def _packets(octets: int, offload: Offload | None) -> tuple[int, int]:
    """
    How many packets something written stands for, and how many octets these have.
    """
    return segments(octets, offload) if offload is not None and offload.size else (1, octets)


def _stackOn(proto: Any) -> tuple[Any, int]:
    """
    What goes right on the port for C{proto}, and on which kind of device.
    """
    if IEthernetProtocol.providedBy(proto) or IRawPacketProtocol.providedBy(proto):
        if not knowsPackets(proto) and not callable(getattr(proto, "datagramReceived", None)):
            raise TypeError(f"packets cannot reach {proto!r}: it has neither packetReceived nor datagramReceived")
        return proto, TAP if IEthernetProtocol.providedBy(proto) else TUN
    if not IRawDatagramProtocol.providedBy(proto):
        advice = instead(proto) or ". Add a DatagramProtocol to a RawUDPProtocol (addProto)"
        raise TypeError(
            f"{proto!r} cannot go on a TuntapPort: it provides none of IEthernetProtocol, IRawPacketProtocol and"
            f" IRawDatagramProtocol{advice}"
        )
    number = udp.PROTOCOL if isinstance(proto, RawUDPProtocol) else getattr(proto, "protocolNumber", None)
    if number is None:
        raise TypeError(
            f"{proto!r} does not say which IP protocol it is: give it a protocolNumber, or add it to an IPProtocol"
            " with addProto(number, protocol) and put that on the port"
        )
    ip = IPProtocol()
    ip.addProto(number, proto)
    return ip, TUN
