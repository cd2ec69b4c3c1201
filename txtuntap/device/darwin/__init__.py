"""
TUN and TAP devices of macOS. Not run on a real macOS yet.
"""
