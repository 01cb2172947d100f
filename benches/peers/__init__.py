"""The peers, with which the judge is compared: fast Python libraries that return the same codes.

    msgspec_typed      msgspec's typed decoder, with types made from the model, including bounds;
                       then a loop over the devices. After an error, a second decoder with few types
                       finds which code comes first
    orjson_checks      orjson.loads, then hand-written checks: one dictionary lookup per point, the
                       bounds of a DOUBLE compared inline, closures compiled from the model for the
                       other types; stops at the first fault
    pydantic_typed     pydantic's `validate_json` of TypedDicts made from the model, which stops at
                       the first faulty entry; then as msgspec_typed
    orjson_jsonschema  orjson.loads, then jsonschema-rs with a schema made from the model; then a
                       loop over the devices
    orjson_loads       orjson.loads alone: no verdict, the lower bound for peers that use it

`PEERS` has these and the judge itself, with one request per call and with 64. All are compiled from
the model document. All but orjson_loads return the contract's first error (3.2) on every stream of
the corpus. A peer returns only a code; the judge also makes the reply, with the place and the
reason of the fault.

The peers do less than the contract demands. None detects a repeated member (the last one is kept),
U+0000 in a string, or a depth over 32. Those that use orjson see an INT that is printed as a
fraction only after it was rounded. orjson rejects `1e400` as invalid JSON; pydantic accepts `NaN`.
All but orjson_checks count a string's characters instead of its bytes. msgspec and pydantic reject
`7.0` for an INT, and msgspec does not check the encoding of text that it skips. They support only
the types in the corpus, and no settings of a product.
"""

from benches.peers.judge import validator
from benches.peers.passes import JUDGE, NO_VERDICT, PEERS, Pass, prepare

__all__ = ["JUDGE", "NO_VERDICT", "PEERS", "Pass", "prepare", "validator"]
