"""Power-cut replay: what may a power cut leave, and is everything there that was answered 200?

    record.py    the service under strace, with traffic, restarts, merges, dead letters
    launch.py    `pointgate serve` with small limits, so that little traffic does much, or a bug
    trace.py     what strace has written: operations on files and folders, and replies
    disk.py      the model of a disk: what may be left of them after a power cut
    states.py    which power cuts: where, and what of the unsynced is left, from a seed
    restart.py   the service's storage on what is left: does it start, does it deliver everything?
    judge.py     what stands in the sinks then, against what had been answered
    planted.py   bugs, each of which must be found
    __main__.py  `make powercut`

SIGKILL (`tests/crash`) leaves to the kernel what was written and not synced. A power cut does not:
this check takes the operations of a real service, and gives it back only what was synced, and any
part of the rest.
"""
