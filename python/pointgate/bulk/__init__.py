"""Judging archived requests, as many as there are, on all cores of one machine.

    inputs    files, folders and standard input, cut into jobs where lines end
    parts     the texts in a file, by its content; kinds, compressed, containers, streams
    pool      processes that take jobs, and give back their results in the order of the jobs
    judge     what one process does with a job: judge it, count it, describe what is rejected
    report    what became of everything: counts by code and reason, and the rejected requests
    points    accepted points on their way into a sink

Measured on small requests, 2026-11, 2 cores: threads in one process give 1.5 times the rate of one
of them, because what surrounds a call of the judge needs the interpreter lock; processes give twice
the rate of one. A process therefore reads its part of a plain file itself; only what has to be read
in one piece, because it is compressed or comes through a pipe, is read by the main process.

Invariants: the same input gives the same output whatever the number of processes; memory is bounded
by the limits and the number of processes, not by the input or its longest line.
"""
