"""What `pointgate doctor` examines before a service goes live: what `check` cannot see.

findings.py    what was found, in words
machine.py     disk, clock, limits of the process
broker.py      what the broker grants, permits and does
sinks.py       whether each sink can be opened
run.py         all of it, in order
"""
