"""
The parts that all layers have in common: protocols above by number, life and death, exceptions, counters, timers.
"""
