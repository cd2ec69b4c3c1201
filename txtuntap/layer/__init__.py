"""
The parts that all layers share: the protocols above by number, start and stop, exceptions, counters and timers.
"""
