"""
The parts that macOS, FreeBSD, OpenBSD and NetBSD share. Not run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.

A L{UnixDevice<txtuntap.device.unix.device.UnixDevice>} is a device over a descriptor. An
L{Opening<txtuntap.device.unix.opening.Opening>} of the platform opens and closes the descriptor.

Interfaces are configured by ioctls (C{netintro(4)}) and by the routing socket (C{route(4)}). Their states are read with
C{sysctl(3)}, which returns routing messages, too.
"""
