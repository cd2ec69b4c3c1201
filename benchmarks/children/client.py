"""
Run the client programs that use a service of this process, and measure what the service takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.utils import getProcessOutputAndValue

from benchmarks.measure import Stopwatch, Turn


@attrs.frozen
class Client:
    """
    Runs client programs, one at a time.

    @ivar reactor: the reactor of this process.
    """

    reactor: Any

    async def turn(
        self, parse: Callable[[str], tuple[float, float]], program: str, *arguments: str, process: int = 0
    ) -> Turn:
        """
        Run a client program to its end.

        @param parse: parses its output, and returns the units of work and the elapsed seconds that they took.
        @param process: the identifier of the process that serves it. 0 stands for this process.

        @raise RuntimeError: the program fails.
        """
        running = getProcessOutputAndValue(program, arguments, env=None, reactor=self.reactor)
        # If a signal ends the program, the failure's value is the result, with the signal in place of the status.
        running.addErrback(lambda failure: failure.value)
        # The fork of this process has taken CPU time already, which is not the service's.
        watch = Stopwatch(process)
        output, errors, status = await running
        _, cpu, _ = watch.turn(0)
        if status:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {status}: {output.decode()}{errors.decode()}")
        units, elapsed = parse(output.decode())
        return units, cpu, elapsed
