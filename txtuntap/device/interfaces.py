"""
Contracts for the configuration and observation of network interfaces: the monitors, and the modules that each
platform's folder has to provide.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from txtuntap.device.events import Follower, InterfaceTable
    from txtuntap.device.linux.namespace import Namespace, NamespaceIdentity
    from txtuntap.device.settings import InterfaceSettings, InterfaceState


class IClockSteps(Interface):
    """
    The correction of the timers of one reactor when the wall clock is set.
    """

    def leave() -> None:
        """
        Tell that the caller has no timers in this reactor any more. Each caller that follows the clock calls this once.
        """


class IMonitor(Interface):
    """
    A monitor, from which a port learns the state of its interface. There are two of them:
    L{InterfaceMonitor<txtuntap.device.monitor.InterfaceMonitor>} and
    L{SharedMonitor<txtuntap.device.monitor.SharedMonitor>}.
    """

    reactor: Any = Attribute("The reactor that the monitor runs on.")
    interfaces: Mapping[int, InterfaceState] = Attribute(
        "The state of each interface, by its index; empty until the monitor has started."
    )
    place: NamespaceIdentity | None = Attribute(
        "The identity of the watched network namespace; C{None}: the monitor was never open, or the identity cannot be"
        " found out."
    )

    def follow(follower: Follower) -> Callable[[], None]:
        """
        Call C{follower} after each change of C{interfaces} from now on.

        @return: a function that ends the calls.
        """


class IWatch(Interface):
    """
    The platform's part of a monitor. It receives the system's notifications and writes each change into an
    L{InterfaceTable<txtuntap.device.events.InterfaceTable>}.
    """

    place: NamespaceIdentity | None = Attribute("The watched network namespace: see L{IMonitor}.")
    isOpen: bool = Attribute("Whether the descriptors that it needs are open.")

    def open() -> None:
        """
        Open the descriptors that C{start} needs. Opening twice is harmless.

        @raise OSError: the system refuses.
        """

    def start() -> Deferred[None]:
        """
        Read the state of all interfaces into the table, and write each later change into it.

        @return: fires once all states have been read; fails with what C{open} raises.
        """

    def stop() -> None:
        """
        Clear the table, and write nothing more into it. Stopping twice is harmless.
        """


class IChange(Interface):
    """
    One change of an interface that has been made and can be undone.
    """

    what: str = Attribute("The change in words, for logs and error texts.")
    hardens: bool = Attribute("Whether the change keeps packets from changing the kernel's configuration.")


class IConversing(Interface):
    """
    A platform's module that sends requests to the system in conversations. A conversation is a generator. It yields
    one request after the other, in the platform's own form, and each answer is sent into it. The value that it
    returns is the conversation's result.
    """

    def ask(reactor: Any, conversation: Generator[Any, Any, Any], namespace: Namespace | None = None) -> Deferred[Any]:
        """
        Run a conversation without blocking.

        @param reactor: the reactor; C{None}: the installed one.
        @param conversation: the generator to run.
        @param namespace: the network namespace that the requests are sent in; C{None}: the namespace of this process.

        @return: fires with the result. If the Deferred is cancelled, the conversation undoes its changes.
        """

    def askNow(conversation: Generator[Any, Any, Any], namespace: Namespace | None = None) -> Any:
        """
        Run a conversation, and block until it ends.

        @return: the result of the conversation.
        """


class IConfiguration(IConversing):
    """
    A platform's module that configures interfaces. Its functions make conversations.
    """

    def configuring(
        name: str, settings: InterfaceSettings, device: Any = None, namespace: Namespace | None = None
    ) -> Generator[Any, Any, tuple[str, int, tuple[IChange, ...]]]:
        """
        Make a conversation that applies settings to an interface. If one change fails, the others are undone.

        @return: the conversation. Its result is the interface's name, its index, and the changes that were made.
        """

    def restoring(index: int, changes: Sequence[IChange]) -> Generator[Any, Any, None]:
        """
        Make a conversation that undoes changes, the last change first.

        @param index: the interface's index.
        """

    def moving(name: str, to: Namespace) -> Generator[Any, Any, None]:
        """
        Make a conversation that moves an interface to another network namespace.
        """


class IReading(IConversing):
    """
    A platform's module that reads the state of interfaces. Its functions make conversations.
    """

    FLAGS: dict[int, str] = Attribute("The names of the flags of interfaces, in the words of C{ip} or C{ifconfig}.")

    def reading(name: str) -> Generator[Any, Any, InterfaceState]:
        """
        Make a conversation that reads the state of one interface.
        """

    def readingAll() -> Generator[Any, Any, list[InterfaceState]]:
        """
        Make a conversation that reads the states of all interfaces.
        """


class IWatching(Interface):
    """
    A platform's module that watches interfaces for changes.
    """

    def identify(namespace: Namespace | None) -> NamespaceIdentity | None:
        """
        Find the identity of a network namespace, which is equal for equal namespaces only.

        @param namespace: the namespace; C{None}: the namespace of this thread.

        @return: the identity; C{None}: it cannot be found out.
        """

    def InterfaceWatch(reactor: Any, table: InterfaceTable, namespace: Namespace | None) -> IWatch:
        """
        Make the watch that writes the interfaces of a network namespace into C{table}.
        """
