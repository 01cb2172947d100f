"""The benchmark corpus: seeded requests, the same on every machine, with stated verdicts.

A stream is a list of *different* payloads of one shape, because a branch predictor learns a single
repeated message. Numbers are printed as gateways print them (`PRINTED`). Two products:

    example   the protocol page's: Power (INT, quality), temp (DOUBLE), branchCurr (ARRAY of STRING)
    plant     41 points: 24 doubles with bounds, 6 whole numbers, 3 bools, 2 enums, 2 strings, an
              array of 16 doubles, branchCurr, 2 structs; four of the doubles carry a quality

    shape   entries x points   messages   product
    S             3 x 3            2000   example (its first message is the page's example)
    M            10 x 20            256   plant
    L           500 x 20              8   plant
    XL       10,000 x 20              1   plant

A message of the plant follows one of eight templates (a gateway reports the same points every
time); in a tenth of its entries one point is replaced by another. Every message is first built from
values whose numbers are already text, then printed, so that all variants of a shape have the same
data.

Invariants: the same shape and variant always give the same bytes; every message of a stream has the
code that `CODES` states for its variant, which a benchmark asserts first (`Stream.check`).

It does not cover the contract: it has no repeated members, dates or numbers as strings. The case
tables and the differential tests do.
"""

from benches.corpus.model import Point, Product
from benches.corpus.streams import CODES, SHAPES, Stream, stream

__all__ = ["CODES", "SHAPES", "Point", "Product", "Stream", "stream"]
