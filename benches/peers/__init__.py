"""What the judge is compared with: the same verdict codes from the best that Python offers.

    msgspec_typed      msgspec's typed decoder, whose types are made from the model, bounds and all;
                       then a loop over the devices. On an error a second, light decoding says which
                       code comes first
    orjson_checks      orjson.loads, then hand-written checks: one dictionary look-up a point,
                       bounds of a DOUBLE compared in line, a closure compiled from the model for
                       everything else, out at the first fault
    pydantic_typed     pydantic's `validate_json` of TypedDicts made from the model, out at the
                       first faulty entry; then as msgspec_typed
    orjson_jsonschema  orjson.loads, then jsonschema-rs with a schema made from the model; then a
                       loop over the devices
    orjson_loads       orjson.loads alone: no verdict, the floor of everything built on it

`PEERS` has these and the judge itself, called with one request a call and with 64. All are compiled
from the model document, and all but the floor give the contract's first error (3.2) on every stream
of the corpus. A peer gives a code and nothing else; the judge also makes the reply, and where a
request is refused it says where and why.

Where the peers are weaker than the contract, and so have less to do: none sees a repeated member
(the last one is kept), U+0000 in a string, or a depth over 32, and those that read with orjson see
an INT that is printed as a fraction only after it was rounded. To orjson `1e400` is broken JSON;
to pydantic `NaN` is none. All but orjson_checks count a string's characters instead of its bytes;
msgspec and pydantic refuse `7.0` for an INT, and msgspec passes over broken text in what it skips.
They know the types that the corpus uses, no settings of a product.
"""

from benches.peers.judge import validator
from benches.peers.passes import JUDGE, NO_VERDICT, PEERS, Pass, prepare

__all__ = ["JUDGE", "NO_VERDICT", "PEERS", "Pass", "prepare", "validator"]
