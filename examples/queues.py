"""
Answer datagrams with several processes on one device. Each process has a queue of the device, and answers with its
process number.

    $ python examples/queues.py 4
    on tun0, 10.0.0.2, port 7: 4 workers

Run it as root. The program makes and configures tun0, and starts four workers. A worker that ends is started again.
When each worker has logged "starting on tun0", send datagrams from several sockets in another terminal:

    $ for i in 1 2 3 4 5 6; do echo hello | socat -t1 - UDP:10.0.0.2:7; done

The command prints several process numbers. The kernel delivers all packets of a flow to the same queue, so datagrams
from one socket always get the same number while its worker runs.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import globalLogBeginner, textFileLogObserver

from txtuntap import Host, TuntapPort
from txtuntap.device import TUN
from txtuntap.device.configure import configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.queues import DESCRIPTOR, queueProcesses, stopWithParent

reactor: Any = _reactor


class WhoAmI(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        transport: Any = self.transport
        transport.write(b"%d\n" % os.getpid(), addr)


def work() -> None:
    host = Host(["10.0.0.2/24"], reactor)
    host.listenUDP(7, WhoAmI())
    # The parent has attached the descriptor to a queue of the device.
    device = LinuxDevice("tun0", TUN, descriptor=DESCRIPTOR)
    TuntapPort("tun0", host.ip, reactor=reactor, device=device).startListening()
    stopWithParent(reactor)


def manage(count: int) -> None:
    devices = [LinuxDevice("tun0", TUN, multiQueue=True) for _ in range(count)]
    for device in devices:
        device.open(offload=None)
    configureInterface("tun0", ["10.0.0.1/24"])
    processes = queueProcesses(devices, [sys.executable, __file__, "worker"], reactor)
    processes.startService()
    reactor.addSystemEventTrigger("before", "shutdown", processes.stopService)
    print(f"on tun0, 10.0.0.2, port 7: {count} workers", flush=True)


def main() -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    arguments = sys.argv[1:] or ["2"]
    if arguments == ["worker"]:
        work()
    elif len(arguments) == 1 and arguments[0].isdecimal() and int(arguments[0]) > 0:
        manage(int(arguments[0]))
    else:
        sys.exit("usage: python examples/queues.py [WORKERS]")
    reactor.run()


if __name__ == "__main__":
    main()
