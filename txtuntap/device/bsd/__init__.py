"""
TUN and TAP devices of FreeBSD, OpenBSD and NetBSD. Not run on a real FreeBSD, OpenBSD or NetBSD yet.
"""
