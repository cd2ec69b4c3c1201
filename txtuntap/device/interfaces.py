"""
The contracts about interfaces: of what watches them, and of the modules in a platform's folder.
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


class IMonitor(Interface):
    """
    The source from which a port knows its interface: an L{InterfaceMonitor<txtuntap.device.monitor.InterfaceMonitor>},
    or a L{SharedMonitor<txtuntap.device.monitor.SharedMonitor>}.
    """

    reactor: Any = Attribute("The reactor that it runs on.")
    interfaces: Mapping[int, InterfaceState] = Attribute("The state of each interface, by index; empty before a start.")
    place: NamespaceIdentity | None = Attribute(
        "The network namespace that is watched, once it is open; L{None}: nobody can tell."
    )

    def follow(follower: Follower) -> Callable[[], None]:
        """
        Have C{follower} called after each change of C{interfaces}, from now on.

        @return: a call that ends it.
        """


class IWatch(Interface):
    """
    The platform's part of a monitor: it hears of changes and writes them into an
    L{InterfaceTable<txtuntap.device.events.InterfaceTable>}.
    """

    place: NamespaceIdentity | None = Attribute("See L{IMonitor}.")
    isOpen: bool = Attribute("Whether it has what it needs from the system.")

    def open() -> None:
        """
        Take from the system what C{start} needs. Opening twice is harmless.

        @raise OSError: the system refuses.
        """

    def start() -> Deferred[None]:
        """
        Fill the table, and keep it as the interfaces are.

        @return: fires once the table is filled; fails with what C{open} raises.
        """

    def stop() -> None:
        """
        Empty the table and write nothing more into it. Stopping twice is harmless.
        """


class IChange(Interface):
    """
    One change of an interface, which has been made and can be restored.
    """

    what: str = Attribute("The change in words.")
    hardens: bool = Attribute("Whether packets were believed before the change, and are not after it.")


class IConversing(Interface):
    """
    The module of a platform that asks the system by conversations. A conversation is a generator: it does its work in
    steps, its yields say what it waits for in the platform's own terms, and its result is what it returns.
    """

    def ask(reactor: Any, conversation: Generator[Any, Any, Any], namespace: Namespace | None = None) -> Deferred[Any]:
        """
        Hold a conversation without waiting.

        @param reactor: L{None}: the installed one.
        @param namespace: the network namespace that it is about; L{None}: this one.

        @return: fires with the result. A conversation that is cancelled ends by undoing what it has done.
        """

    def askNow(conversation: Generator[Any, Any, Any], namespace: Namespace | None = None) -> Any:
        """
        Hold a conversation, and wait for its result.
        """


class IConfiguration(IConversing):
    """
    The module of a platform that configures interfaces.
    """

    def configuring(
        name: str, settings: InterfaceSettings, device: Any = None, namespace: Namespace | None = None
    ) -> Generator[Any, Any, tuple[str, int, tuple[IChange, ...]]]:
        """
        The conversation that brings an interface to its settings, or leaves it as it was.

        @return: the interface's name and number, and the changes that were made.
        """

    def restoring(index: int, changes: Sequence[IChange]) -> Generator[Any, Any, None]:
        """
        The conversation that restores what was changed, the last change first.

        @param index: the interface's number.
        """

    def moving(name: str, to: Namespace) -> Generator[Any, Any, None]:
        """
        The conversation that moves an interface to another network namespace.
        """


class IReading(IConversing):
    """
    The module of a platform that reads what interfaces are.
    """

    def reading(name: str) -> Generator[Any, Any, InterfaceState]:
        """
        The conversation that reads the state of one interface.
        """

    def readingAll() -> Generator[Any, Any, list[InterfaceState]]:
        """
        The conversation that reads the states of all interfaces.
        """


class IWatching(Interface):
    """
    The module of a platform that watches interfaces.
    """

    def identify(namespace: Namespace | None) -> NamespaceIdentity | None:
        """
        Tell network namespaces apart.

        @param namespace: L{None}: the one of this thread.

        @return: L{None}: that cannot be known.
        """

    def InterfaceWatch(reactor: Any, table: InterfaceTable, namespace: Namespace | None) -> IWatch:
        """
        Make what watches the interfaces of a network namespace.
        """
