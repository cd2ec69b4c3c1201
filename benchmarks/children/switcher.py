"""
The process of L{benchmarks.switch} that joins two network namespaces and measures TCP between them.

    python -m benchmarks.children.switcher ROUNDS

The process prints a JSON list of rounds, with the sums of all turns, by the name of the measurement. The units of the
measurements are Mbit.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.children.bench import bare
from benchmarks.measure import Rounds, Stopwatch, Turn, inTurns
from benchmarks.switch import CASES

#: The seconds of a turn.
SECONDS = 2

#: The number of attempts at a measurement.
TRIES = 5

#: The seconds after which a command that keeps failing, or a process that does not end, is an error.
PATIENCE = 20

#: The addresses of the second namespace: through the switch, the bare loop and the bridge.
ADDRESSES = {"switch": "10.1.0.2", "loop": "10.3.0.2", "bridge": "10.2.0.2"}


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a program while the C{with} block runs.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def inside(machine: subprocess.Popen[bytes], *command: str) -> list[str]:
    """
    Make a command line that runs in the network namespace of a process.
    """
    return ["nsenter", f"--net=/proc/{machine.pid}/ns/net", *command]


def until(*command: str) -> None:
    """
    Repeat a command until it succeeds.

    @raise RuntimeError: it has failed for L{PATIENCE} seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the command has failed for {PATIENCE} seconds: {' '.join(command)}")
        time.sleep(0.05)


def bridged(machines: list[subprocess.Popen[bytes]]) -> None:
    """
    Join the namespaces by a bridge of the kernel in this process's namespace.
    """
    commands = ["link add kernel type bridge", "link set kernel up"]
    for number, machine in enumerate(machines, 1):
        commands.append(f"link add outer{number} type veth peer name inner netns {machine.pid}")
        commands.append(f"link set outer{number} master kernel up")
    for each in commands:
        subprocess.run(["ip", *each.split()], check=True)
    for number, machine in enumerate(machines, 1):
        for each in f"address add 10.2.0.{number}/24 dev inner", "link set inner up":
            subprocess.run(inside(machine, "ip", *each.split()), check=True)


def looped(machines: list[subprocess.Popen[bytes]], stack: ExitStack) -> int:
    """
    Join the namespaces by a bare loop between two taps.

    @return: the identifier of the loop's process.
    """
    names = [f"loop{number}" for number, _ in enumerate(machines, 1)]
    process = stack.enter_context(running(*map(str, bare("join", *names))))
    for number, (name, machine) in enumerate(zip(names, machines, strict=True), 1):
        until("ip", "link", "set", name, "netns", str(machine.pid))
        for each in f"address add 10.3.0.{number}/24 dev {name}", f"link set {name} up":
            subprocess.run(inside(machine, "ip", *each.split()), check=True)
    return process.pid


def measured(machine: subprocess.Popen[bytes], address: str, options: list[str], process: int) -> Turn:
    """
    Measure a stream of iperf3.

    @param process: the identifier of the process that carries the stream. 0: the kernel carries it.

    @raise RuntimeError: all attempts have failed.
    """
    command = inside(machine, "iperf3", "-c", address, "-J", "-t", str(SECONDS), *options)
    for _ in range(TRIES):
        watch = Stopwatch(process)
        said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
        if "error" not in said:
            received = said["end"]["sum_received"]
            _, cpu, _ = watch.turn(0)
            return received["bytes"] * 8 / 1e6, cpu, received["seconds"]
        # The server may still be busy with the previous stream.
        print(f"{' '.join(command)}: {said['error']}", file=sys.stderr)
    raise RuntimeError(f"iperf3 has failed {TRIES} times")


async def measure(rounds: int, stack: ExitStack) -> Rounds:
    """
    Join the namespaces, and measure all cases.
    """
    machines = [stack.enter_context(running("unshare", "--net", "sleep", "infinity")) for _ in range(2)]
    here = subprocess.check_output(["readlink", "/proc/self/ns/net"])
    for machine in machines:
        while subprocess.check_output(["readlink", f"/proc/{machine.pid}/ns/net"]) == here:
            time.sleep(0.01)
    bridged(machines)
    command = [sys.executable, "-m", "twisted", "--log-file=/dev/null", "tuntap", "switch"]
    for number, machine in enumerate(machines, 1):
        command += ["--tap", f"tap{number},netns=/proc/{machine.pid}/ns/net,address=10.1.0.{number}/24"]
    processes = {"switch": stack.enter_context(running(*command)).pid, "loop": looped(machines, stack), "bridge": 0}
    stack.enter_context(running(*inside(machines[1], "iperf3", "-s")))
    for address in ADDRESSES.values():
        until(*inside(machines[0], "ping", "-c", "1", "-W", "1", address))
        until(*inside(machines[0], "iperf3", "-c", address, "-n", "1K"))

    def streaming(name: str, options: list[str]) -> Callable[[], Awaitable[Turn]]:
        async def turn() -> Turn:
            return measured(machines[0], ADDRESSES[name], options, processes[name])

        return turn

    measures = {f"{case}, {name}": streaming(name, CASES[case]) for case in CASES for name in ADDRESSES}
    return await inTurns(measures, rounds, 1)


def main() -> None:
    """
    Measure everything, and print the results.
    """
    with ExitStack() as stack:
        json.dump(asyncio.run(measure(int(sys.argv[1]), stack)), sys.stdout)


if __name__ == "__main__":
    main()
