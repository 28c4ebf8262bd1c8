"""The decisions: pure functions from a resource and what is observed to a plan. No I/O, no clock, no random number."""
