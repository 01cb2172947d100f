"""The ledger check: kill everything that can be killed, then ask whether a 200 was kept.

    traffic.py   what is sent: requests whose every point is one of a kind
    sender.py    a process that writes each request and each answer down, then or before it happens
    ledger.py    what it wrote, read again
    stored.py    what stands in the sinks
    victims.py   service, broker and database: started, killed, started again
    launch.py    `pointgate serve` that can be told to kill somebody at a named place, or has a bug
    planted.py   those bugs
    plan.py      whom to kill, where and when, from a seed
    run.py       one run: everything up, the kills, quiet, the comparison
    compare.py   the ledger against what stands in the sinks
    order.py     the system calls of the service: is it on the disk before it is answered?
    outcome.py   what came of it, and which of it is a violation
    summary.py   what several runs have found
    __main__.py  `make crash`

A SIGKILL leaves what the kernel has in its memory, so a forgotten fsync cannot be seen this way;
that is what `order.py` is for. A check that finds nothing proves little by itself:
`test_planted.py` runs it on services with planted bugs, each of which it must find.
"""
