"""
The DNS zone that the name servers of the tests serve.
"""

from __future__ import annotations

from typing import Any

from twisted.names import dns
from twisted.names.authority import FileAuthority

#: A text that is too long for one UDP packet of DNS.
LONG = [bytes([65 + number]) * 250 for number in range(12)]


class Zone(FileAuthority):
    """
    The zone C{example.test}: a name with an address of each IP version, and a name with a long text.
    """

    def loadFile(self, filename: str) -> None:
        soa = dns.Record_SOA("ns.example.test", "root.example.test", serial=1, minimum=60)
        records = [dns.Record_A("192.0.2.7"), dns.Record_AAAA("2001:db8::7")]
        self.soa: Any = (b"example.test", soa)
        self.records: Any = {
            b"example.test": [soa],
            b"www.example.test": records,
            b"long.example.test": [dns.Record_TXT(*LONG)],
        }
