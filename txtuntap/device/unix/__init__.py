"""
The parts that macOS, FreeBSD, OpenBSD and NetBSD share. Not run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.

A L{UnixDevice<txtuntap.device.unix.device.UnixDevice>} is a device over a descriptor. An
L{Opening<txtuntap.device.unix.opening.Opening>} of the platform opens and closes the descriptor.
"""
