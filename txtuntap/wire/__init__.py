"""
Header formats: parse and pack.

Standard library only; no state, no clock. Every multi-byte field on the wire is big-endian ("network order"). The
layers above use the C{struct.Struct}s of these modules directly where a packet passes; the header classes are for
whoever wants all fields by name.
"""
