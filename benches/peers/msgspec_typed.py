"""msgspec's typed decoder, whose types are made from the model; then a loop over the devices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from benches.peers.contract import (
    DEVICE,
    EMPTY,
    FORMAT,
    INT_MAX,
    INT_MIN,
    MAX_LENGTH,
    MAX_SIZE,
    MAX_TIME,
    METHOD,
    METHODS,
    MODEL,
    OK,
    bounds,
    double_bounds,
    element,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.corpus import Point, Product


def _msgspec_type(point: Point) -> Any:  # noqa: PLR0911 -- one line a type
    definition = point.get("dataDefinition") or {}
    match point["dataType"]:
        case "DOUBLE":
            low, high = double_bounds(point)
            number: Any = Annotated[float, msgspec.Meta(ge=low, le=high)]
        case "INT":
            low, high = map(int, bounds(point, least=INT_MIN, most=INT_MAX))
            number = Annotated[int, msgspec.Meta(ge=low, le=high)]
        case "BOOL":
            return bool | Literal[0, 1]
        case "ENUM":
            keys = definition["enumDesc"]
            return Literal[tuple(map(int, keys) if definition["enumType"] == "INT" else keys)]
        case "ARRAY":
            most = msgspec.Meta(max_length=definition.get("maxSize", MAX_SIZE))
            return Annotated[list[_msgspec_type(element(point))], most]  # type: ignore[misc]
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

    Without garbage collection (`gc=False`), a msgspec option for acyclic data, which is faster.
    """
    fields: list[Any] = []
    for number, point in enumerate(points):
        field: tuple[Any, ...] = (f"p{number}", _msgspec_type(point))
        if not point.get("required"):
            # A missing member gets the default, whose type is not in the field's: null is rejected.
            field = (*field, msgspec.field(default=msgspec.UNSET))
        fields.append(field)
    rename = {f"p{number}": point["identifier"] for number, point in enumerate(points)}
    return msgspec.defstruct(
        name, fields, rename=rename, forbid_unknown_fields=True, gc=False, kw_only=True
    )


class _Named(msgspec.Struct, gc=False):
    """An entry of which only the device is decoded."""

    deviceKey: Any = None  # noqa: N815 -- the protocol's name


class _Light(msgspec.Struct, gc=False):
    """A request of whose entries only the devices are decoded: any entry is valid."""

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
    """Find the code of a request that the typed decoder rejected.

    It stopped at the first violation of the model. Invalid JSON after it takes precedence, and so
    does an unknown device in that entry or an earlier one.
    """
    try:
        payload.decode()  # the decoder does not check the encoding of text that it skips
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
