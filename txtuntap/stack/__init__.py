"""
The parts that make an IP layer a host: the protocols that answer by themselves.
"""
