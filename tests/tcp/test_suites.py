"""
A program that is given a host in place of the reactor runs as it did: shown on the suites of Twisted's protocols.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.long import lengths

from .classic import Outcome, entryOf, runSuites

INTERNALS = "it uses what Twisted's own transports and ports have, and no interface does"
PROCESS = "its client is a process of its own with the TCP of the kernel, which cannot reach a host"
SOCKET = "it looks at the socket of a transport, and there is none"
TRANSLATED = "it takes the address that listens for the one that connects, and here these are two hosts"
VERSIONS = "a host that listens on '::' takes no connections of IPv4 there"

#: The tests that fail, and classes all of whose tests do; and why it must be so.
EXPECTED = {
    "conch.test.test_cftp.OurServerBatchFileTests.testBatchFile": PROCESS,
    "conch.test.test_cftp.OurServerBatchFileTests.testIgnoredError": PROCESS,
    "conch.test.test_cftp.OurServerCmdLineClientTests": PROCESS,
    "conch.test.test_cftp.OurServerSftpClientTests": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_exec": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_localToRemoteForwarding": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_remoteToLocalForwarding": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_runWithCompressionSpecified": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_runWithLogFile": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_runWithNoHostAlgorithmsSpecified": PROCESS,
    "conch.test.test_conch.OpenSSHClientForwardingTests": PROCESS,
    "conch.test.test_conch.OpenSSHClientRekeyTests": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_CURVE25519_SHA256": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_DH_GROUP14": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_DH_GROUP_EXCHANGE_SHA1": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_DH_GROUP_EXCHANGE_SHA256": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_ECDHSHA256": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_ECDHSHA384": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_ECDHSHA521": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_MLKEM768X25519_SHA256": PROCESS,
    "test.test_ftp.FTPServerIPv4MappedPasvDataConnectionTests": VERSIONS,
    "test.test_tcp.HalfCloseTests.testCloseWriteCloser": INTERNALS,
    "test.test_tcp.ListeningTests.test_directConnectionLostCall": INTERNALS,
    "test.test_tcp.ListeningTests.test_exceptInConnectionLostCall": INTERNALS,
    "test.test_tcp.LoopbackTests.test_closePortInProtocolFactory": INTERNALS,
    "test.test_tcp.ProperlyCloseFilesTests.test_properlyCloseFiles": SOCKET,
}

#: More of them, between two hosts.
EXPECTED_LINKED = {"test.test_tcp.CannotBindTests.test_cannotBind": TRANSLATED}

SHORT = ["twisted.test.test_tcp", "twisted.test.test_ssl"]
LONG = [
    *SHORT,
    "twisted.conch.test",
    "twisted.internet.test.test_endpoints",
    "twisted.internet.test.test_protocol",
    "twisted.mail.test",
    "twisted.names.test",
    "twisted.protocols.test",
    "twisted.spread.test",
    "twisted.test.test_amp",
    "twisted.test.test_ftp",
    "twisted.test.test_internet",
    "twisted.test.test_policies",
    "twisted.test.test_protocols",
    "twisted.test.test_strports",
    "twisted.web.test",
    "twisted.words.test",
]


@pytest.mark.parametrize("kind", ["Alone", "Linked"])
@lengths("suites", SHORT, LONG, "suites")
def test_suites(kind: str, suites: list[str], tmp_path: Path) -> None:
    """
    What fails is what is expected to. What older versions of Twisted lack, or the machine, is skipped; and what fails
    with the kernel's TCP too says nothing of ours.
    """
    expected = EXPECTED if kind == "Alone" else {**EXPECTED, **EXPECTED_LINKED}
    outcome = runSuites(kind, suites, str(tmp_path / "hosts"), expected)
    assert outcome.opened > 20, "the suites have not used the hosts"
    failed = {name for name in outcome.failed if not entryOf(name, expected)}
    if failed:
        failed -= set(runSuites("Kernel", sorted(failed), str(tmp_path / "kernel")).failed)
    told = "\n".join(outcome.failed[name] for name in sorted(failed))
    assert not failed, f"failed, and should not have:\n{told}"
    missed = {name for name in passed(outcome) if entryOf(name, expected)}
    assert not missed, "expected to fail, and did not"


def passed(outcome: Outcome) -> set[str]:
    """
    The names of the tests that did not fail.
    """
    return outcome.ran - set(outcome.failed)
