**Packets.** Any object with `packetReceived` goes on a port. A packet tells its addresses and its protocol, and its `repr` reads like a line of tcpdump (`docs/packets.md`).
