"""What the judge is compared with: the same verdict codes from the best that Python offers.

    orjson_checks    orjson.loads, then hand-written checks: one dictionary look-up a point, bounds
                     of a DOUBLE compared in line, a closure compiled from the model for everything
                     else, out at the first fault
    msgspec_typed    msgspec's typed decoder, whose types are made from the model, bounds and all;
                     then a loop over the devices. On an error a second, light decoding says which
                     code comes first
    orjson_loads     orjson.loads alone: no verdict, the floor of everything built on it

`PEERS` has these and the judge itself, called with one request a call and with 64. All are compiled
from the model document, and all but the floor give the contract's first error (3.2) on every stream
of `corpus.py`. A peer gives a code and nothing else; the judge also makes the reply, and where a
request is refused it says where and why.

Where the peers are weaker than the contract, and so have less to do: neither sees a repeated member
(a parser that builds objects keeps the last), U+0000 in a string, or a depth over 32, and they see
an INT that is printed as a fraction only after it was rounded. To orjson `1e400` is broken JSON;
msgspec counts a string's characters instead of its bytes, refuses `7.0` for an INT, and passes over
broken text in what it skips. They know the types that the corpus uses, no settings of a product.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import orjson

from pointgate import _core

if TYPE_CHECKING:
    from benches.corpus import Point, Product, Stream

METHOD: Final = "integration.measurepoint.post"
INT_MIN, INT_MAX = -(2**31), 2**31 - 1
MAX_TIME: Final = 253402300799999
MAX_LENGTH, MAX_SIZE = 1024, 128
MAX_ID: Final = 256
PAYLOAD_BYTES: Final = 64 << 20
"""The judge's limit: XL pretty-printed is over the default."""
BURST: Final = 64
OK, MODEL, FORMAT, EMPTY, DEVICE, METHODS = 200, 1204, 1220, 1251, 1257, 1260


def _bounds(point: Point, *, least: float, most: float) -> tuple[float, float]:
    """The bounds of a number, both inclusive: an exclusive one is the next number inside."""
    low, high = max(point.get("minimum", least), least), min(point.get("maximum", most), most)
    whole = point["dataType"] == "INT"
    if point.get("exclusiveMinimum"):
        low = low + 1 if whole else math.nextafter(low, math.inf)
    if point.get("exclusiveMaximum"):
        high = high - 1 if whole else math.nextafter(high, -math.inf)
    return low, high


def _double_bounds(point: Point) -> tuple[float, float]:
    greatest = math.nextafter(math.inf, 0)
    low, high = _bounds(point, least=-greatest, most=greatest)
    return float(low), float(high)


def _element(point: Point) -> Point:
    """The type of an array's elements: its bounds and its `maxLength` bind each of them."""
    definition = point["dataDefinition"]
    return {**point, "dataType": definition["itemType"], "hasQuality": False}


# orjson, then checks


def _check_int(point: Point) -> Callable[[Any], bool]:
    low, high = _bounds(point, least=INT_MIN, most=INT_MAX)

    def check(value: Any) -> bool:
        if type(value) is int:
            return low <= value <= high
        return type(value) is float and value.is_integer() and low <= value <= high

    return check


def _check_double(point: Point) -> Callable[[Any], bool]:
    low, high = _double_bounds(point)

    def check(value: Any) -> bool:
        return (type(value) is float or type(value) is int) and low <= value <= high

    return check


def _check_bool(_point: Point) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return value is True or value is False or (type(value) in (int, float) and value in (0, 1))

    return check


def _check_enum(point: Point) -> Callable[[Any], bool]:
    definition = point["dataDefinition"]
    if definition["enumType"] == "STRING":
        texts = frozenset(definition["enumDesc"])
        return lambda value: type(value) is str and value in texts
    numbers = frozenset(map(int, definition["enumDesc"]))
    return lambda value: (type(value) is int or type(value) is float) and value in numbers


def _check_string(point: Point) -> Callable[[Any], bool]:
    most = (point.get("dataDefinition") or {}).get("maxLength", MAX_LENGTH)
    surely = most // 4  # a character is at most four bytes

    def check(value: Any) -> bool:
        return type(value) is str and (len(value) <= surely or len(value.encode()) <= most)

    return check


def _check_array(point: Point) -> Callable[[Any], bool]:
    most = point["dataDefinition"].get("maxSize", MAX_SIZE)
    element = _element(point)
    check_one = _compile_check(element)
    if element["dataType"] == "STRING":
        surely = element["dataDefinition"].get("maxLength", MAX_LENGTH) // 4

        def check_texts(value: Any) -> bool:
            if type(value) is not list or len(value) > most:
                return False
            for one in value:
                if not (type(one) is str and len(one) <= surely) and not check_one(one):
                    return False
            return True

        return check_texts
    low, high = _plain_bounds(element)

    def check_doubles(value: Any) -> bool:
        if type(value) is not list or len(value) > most:
            return False
        for one in value:
            if not (type(one) is float and low <= one <= high) and not check_one(one):
                return False
        return True

    return check_doubles


def _check_struct(point: Point) -> Callable[[Any], bool]:
    items = point["dataDefinition"]["items"]
    checks = {item["identifier"]: _compile_check(item) for item in items}
    required = frozenset(item["identifier"] for item in items if item.get("required"))

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name, member in value.items():
            check_member = checks.get(name)
            if check_member is None or not check_member(member):
                return False
        return value.keys() >= required

    return check


CHECKS: Final = {
    "INT": _check_int,
    "DOUBLE": _check_double,
    "BOOL": _check_bool,
    "ENUM": _check_enum,
    "STRING": _check_string,
    "ARRAY": _check_array,
    "STRUCT": _check_struct,
}


def _compile_check(point: Point) -> Callable[[Any], bool]:
    check = CHECKS[point["dataType"]](point)
    if not point.get("hasQuality"):
        return check

    def check_with_quality(value: Any) -> bool:
        if type(value) is not dict:
            return check(value)
        members = len(value)
        if members == 2:
            quality = value.get("quality")
            if type(quality) is not int and not (type(quality) is float and quality.is_integer()):
                return False
            return 0 <= quality <= 9 and "value" in value and check(value["value"])
        return members == 1 and "value" in value and check(value["value"])

    return check_with_quality


def _good_time(time: Any) -> bool:
    if type(time) is int:
        return 0 <= time <= MAX_TIME
    return time is None or (type(time) is float and time.is_integer() and 0 <= time <= MAX_TIME)


def orjson_checks(product: Product) -> Callable[[bytes], int]:  # noqa: C901 -- see judge
    """Compile a product for orjson and hand-written checks."""
    devices = frozenset(product.devices)
    # Whatever is no plain DOUBLE has bounds that no number meets, and goes on to its closure.
    rules = {
        name: (*_plain_bounds(point), _compile_check(point))
        for name, point in product.model["measurepoints"].items()
    }
    loads = orjson.loads

    # One long function, since each call in it would cost more than the check.
    def judge(payload: bytes) -> int:  # noqa: C901, PLR0911, PLR0912
        if not payload:
            return EMPTY
        try:
            request = loads(payload)
        except orjson.JSONDecodeError:
            return FORMAT
        code, entries = _envelope(request)
        if code != OK:
            return code
        for entry in entries:
            if type(entry) is not dict:
                return MODEL
            device_key = entry.get("deviceKey")
            if type(device_key) is not str:
                return DEVICE if device_key is None else MODEL
            if device_key not in devices:
                return DEVICE
            measurepoints = entry.get("measurepoints")
            if type(measurepoints) is not dict:
                return MODEL
            try:
                for name, value in measurepoints.items():
                    low, high, check = rules[name]
                    if type(value) is float and low <= value <= high:
                        continue
                    if not check(value):
                        return MODEL
            except KeyError:
                return MODEL
            time = entry.get("time")
            if not (type(time) is int and 0 <= time <= MAX_TIME) and not _good_time(time):
                return MODEL
        return OK

    return judge


def _plain_bounds(point: Point) -> tuple[float, float]:
    if point["dataType"] == "DOUBLE":
        return _double_bounds(point)
    return math.inf, -math.inf


def _envelope(request: Any) -> tuple[int, list[Any]]:
    """The code of what stands around the entries, and the entries."""
    if type(request) is not dict:
        return FORMAT, []
    message_id, method, params = request.get("id"), request.get("method"), request.get("params")
    if type(params) is dict:
        params = [params]
    if type(message_id) is str:
        # Its token is longer only by escapes, which the corpus has none of.
        message_id = None if len(message_id.encode()) + 2 <= MAX_ID else ()
    good_id = message_id is None or type(message_id) in (int, float)
    if not good_id or type(request.get("version")) is not str:
        return FORMAT, []
    if type(method) is not str or type(params) is not list:
        return FORMAT, []
    return (OK if method == METHOD else METHODS), params


# msgspec


def _msgspec_type(point: Point) -> Any:  # noqa: PLR0911 -- one line a type
    definition = point.get("dataDefinition") or {}
    match point["dataType"]:
        case "DOUBLE":
            low, high = _double_bounds(point)
            number: Any = Annotated[float, msgspec.Meta(ge=low, le=high)]
        case "INT":
            low, high = map(int, _bounds(point, least=INT_MIN, most=INT_MAX))
            number = Annotated[int, msgspec.Meta(ge=low, le=high)]
        case "BOOL":
            return bool | Literal[0, 1]
        case "ENUM":
            keys = definition["enumDesc"]
            return Literal[tuple(map(int, keys) if definition["enumType"] == "INT" else keys)]
        case "ARRAY":
            most = msgspec.Meta(max_length=definition.get("maxSize", MAX_SIZE))
            return Annotated[list[_msgspec_type(_element(point))], most]  # type: ignore[misc]
        case "STRUCT":
            return _struct("Struct", definition["items"])
        case _:
            most = msgspec.Meta(max_length=definition.get("maxLength", MAX_LENGTH))
            return Annotated[str, most]
    if not point.get("hasQuality"):
        return number
    quality = Annotated[int, msgspec.Meta(ge=0, le=9)]
    fields: list[Any] = [("value", number), ("quality", quality, msgspec.UNSET)]
    with_quality = msgspec.defstruct("WithQuality", fields, forbid_unknown_fields=True, gc=False)
    return number | with_quality


def _struct(name: str, points: list[Point]) -> type[msgspec.Struct]:
    """Make a type whose members are points; identifiers need not be Python's.

    Without garbage collection (`gc=False`), which msgspec offers for such data and which is faster.
    """
    fields: list[Any] = []
    for number, point in enumerate(points):
        field: tuple[Any, ...] = (f"p{number}", _msgspec_type(point))
        if not point.get("required"):
            # An absent member keeps its default; its type need not name it, so null is refused.
            field = (*field, msgspec.field(default=msgspec.UNSET))
        fields.append(field)
    rename = {f"p{number}": point["identifier"] for number, point in enumerate(points)}
    return msgspec.defstruct(
        name, fields, rename=rename, forbid_unknown_fields=True, gc=False, kw_only=True
    )


class _Named(msgspec.Struct, gc=False):
    """An entry of which only the device is looked at."""

    deviceKey: Any = None  # noqa: N815 -- the protocol's name


class _Light(msgspec.Struct, gc=False):
    """A request of whose entries only the devices are looked at: no entry can make it fail."""

    version: str
    method: str
    params: list[_Named | str | int | float | bool | list[msgspec.Raw] | None] | _Named
    id: str | int | float | None = None


FAULTY_ENTRY: Final = re.compile(r" - at `\$\.params(?:\[(\d+)\])?[^`]*`$")


def msgspec_typed(product: Product) -> Callable[[bytes], int]:
    """Compile a product for msgspec's typed decoder."""
    devices = frozenset(product.devices)
    points = _struct("Points", list(product.model["measurepoints"].values()))
    time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
    entry: Any = msgspec.defstruct(
        "Entry",
        [("measurepoints", points), ("deviceKey", str | None, None), ("time", time | None, None)],
        gc=False,
    )
    request = msgspec.defstruct(
        "Request",
        [
            ("version", str),
            ("method", str),
            ("params", list[entry] | entry),
            ("id", str | int | float | None, None),
        ],
        gc=False,
    )
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(request).decode

    def judge(payload: bytes) -> int:
        try:
            decoded = decode(payload)
        except msgspec.ValidationError as error:
            return _look_again(devices, payload, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return FORMAT if payload else EMPTY
        if decoded.method != METHOD:
            return METHODS
        params = decoded.params
        for one in params if type(params) is list else [params]:
            if one.deviceKey not in devices:
                return DEVICE
        return OK

    return judge


_decode_light = msgspec.json.Decoder(_Light).decode


def _look_again(  # noqa: PLR0911 -- the contract's order, a line each
    devices: frozenset[str], payload: bytes, error: str
) -> int:
    """Find the code of a request that the typed decoder refused.

    It stopped at the first fault of the model. Broken JSON behind that wins, and so does an unknown
    device up to and with that entry.
    """
    try:
        payload.decode()  # what is skipped is not looked at as text
        request = _decode_light(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return FORMAT
    if request.method != METHOD:
        return METHODS
    faulty = FAULTY_ENTRY.search(error)
    if faulty is None:
        return FORMAT
    params = request.params if type(request.params) is list else [request.params]
    for entry in params[: int(faulty[1] or 0) + 1]:
        if type(entry) is not _Named:
            return MODEL
        device_key = entry.deviceKey
        if type(device_key) is not str:
            return DEVICE if device_key is None else MODEL
        if device_key not in devices:
            return DEVICE
    return MODEL


# A pass over a stream by each

Pass = Callable[[], list[int]]
"""Judges every request of a stream once; gives the codes."""


@cache
def validator(product: Product) -> _core.Validator:
    """Compile a product for the judge."""
    model = _core.Model.compile(orjson.dumps(product.model))
    devices = _core.Devices.parse("\n".join(product.devices).encode(), "txt")
    catalog = _core.Catalog({product.key: _core.Product(model, devices)})
    return _core.Validator(catalog, payload_bytes=PAYLOAD_BYTES)


def _pointgate(stream: Stream) -> Pass:
    validate, topic, payloads = (
        validator(stream.product).validate,
        stream.product.topic,
        stream.payloads,
    )
    return lambda: [validate([topic], [payload])[0].code for payload in payloads]


def _pointgate_64(stream: Stream) -> Pass:
    validate, topic, payloads = (
        validator(stream.product).validate,
        stream.product.topic,
        stream.payloads,
    )
    bursts = [payloads[start : start + BURST] for start in range(0, len(payloads), BURST)]
    calls = [([topic] * len(burst), burst) for burst in bursts]
    return lambda: [report.code for call in calls for report in validate(*call)]


def _python(compile_judge: Callable[[Product], Callable[[bytes], int]]) -> Callable[[Stream], Pass]:
    def prepare(stream: Stream) -> Pass:
        judge, payloads = compile_judge(stream.product), stream.payloads
        return lambda: [judge(payload) for payload in payloads]

    return prepare


def _orjson_loads(stream: Stream) -> Pass:
    loads, payloads = orjson.loads, stream.payloads

    def parse() -> list[int]:
        for payload in payloads:
            try:
                loads(payload)
            except orjson.JSONDecodeError:
                continue
        return []

    return parse


JUDGE: Final = "pointgate"
PEERS: Final[dict[str, Callable[[Stream], Pass]]] = {
    JUDGE: _pointgate,
    "pointgate_64": _pointgate_64,
    "msgspec_typed": _python(msgspec_typed),
    "orjson_checks": _python(orjson_checks),
    "orjson_loads": _orjson_loads,
}
NO_VERDICT: Final = frozenset({"orjson_loads"})


def prepare(name: str, stream: Stream) -> Pass:
    """Make a peer ready for a stream; its codes have been compared with the stated ones."""
    judge_all = PEERS[name](stream)
    codes = judge_all()
    if name not in NO_VERDICT:
        stream.check(name, codes)
    return judge_all
