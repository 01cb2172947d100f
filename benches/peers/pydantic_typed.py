"""pydantic's `validate_json` of TypedDicts made from the model; then a loop over the devices.

TypedDicts are pydantic's fastest models. Unions are tried from left to right, the usual form first,
and `fail_fast` stops at the first faulty entry: both are faster than pydantic's defaults. A failed
validation returns no data, so a second one with few types then reads the devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

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
    judge_device,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.corpus import Point, Product

STRICT: Final = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
OPEN: Final = ConfigDict(strict=True, extra="ignore")
"""The envelope and the entries may have other members."""


def _type(point: Point) -> Any:  # noqa: PLR0911 -- one line a type
    definition = point.get("dataDefinition") or {}
    match point["dataType"]:
        case "DOUBLE":
            low, high = double_bounds(point)
            number: Any = Annotated[float, Field(ge=low, le=high)]
        case "INT":
            low, high = map(int, bounds(point, least=INT_MIN, most=INT_MAX))
            number = Annotated[int, Field(ge=low, le=high)]
        case "BOOL":
            return _first_of(bool | Literal[0, 1])
        case "ENUM":
            keys = definition["enumDesc"]
            return Literal[tuple(map(int, keys) if definition["enumType"] == "INT" else keys)]
        case "ARRAY":
            most = Field(max_length=definition.get("maxSize", MAX_SIZE))
            return Annotated[list[_type(element(point))], most]  # type: ignore[misc]
        case "STRUCT":
            return _members("Struct", definition["items"])
        case _:
            return Annotated[str, Field(max_length=definition.get("maxLength", MAX_LENGTH))]
    if not point.get("hasQuality"):
        return number
    quality = Annotated[int, Field(ge=0, le=9)]
    with_quality = _typed_dict(
        "WithQuality", STRICT, {"value": number, "quality": NotRequired[quality]}
    )
    return _first_of(number | with_quality)


def _first_of(union: Any) -> Any:
    """A union whose first matching member is taken, instead of the best of all."""
    return Annotated[union, Field(union_mode="left_to_right")]


def _members(name: str, points: list[Point]) -> Any:
    members = {}
    for point in points:
        member = _type(point)
        members[point["identifier"]] = member if point.get("required") else NotRequired[member]
    return _typed_dict(name, STRICT, members)


def _typed_dict(name: str, config: ConfigDict, members: dict[str, Any]) -> Any:
    # mypy knows the call with literal members only.
    make: Any = TypedDict
    return with_config(config)(make(name, members))


def _request(params: Any) -> Callable[[bytes], Any]:
    members = {
        "version": str,
        "method": str,
        "params": params,
        "id": NotRequired[str | int | float | None],
    }
    return TypeAdapter[Any](_typed_dict("Request", OPEN, members)).validate_json


def pydantic_typed(product: Product) -> Callable[[bytes], int]:
    """Compile a product for pydantic."""
    devices = frozenset(product.devices)
    entry: Any = _typed_dict(
        "Entry",
        OPEN,
        {
            "deviceKey": NotRequired[str | None],
            "measurepoints": _members("Points", list(product.model["measurepoints"].values())),
            "time": NotRequired[Annotated[int, Field(ge=0, le=MAX_TIME)] | None],
        },
    )
    validate = _request(_first_of(Annotated[list[entry], Field(fail_fast=True)] | entry))

    def judge(payload: bytes) -> int:
        try:
            request = validate(payload)
        except ValidationError as error:
            return _look_again(devices, payload, error) if payload else EMPTY
        if request["method"] != METHOD:
            return METHODS
        params = request["params"]
        for one in params if type(params) is list else [params]:
            if one.get("deviceKey") not in devices:
                return DEVICE
        return OK

    return judge


_named: Any = _typed_dict("Named", OPEN, {"deviceKey": NotRequired[Any]})
_validate_light = _request(_first_of(list[_first_of(_named | Any)] | _named))  # type: ignore[misc]


def _look_again(devices: frozenset[str], payload: bytes, error: ValidationError) -> int:
    """Find the code of a request that pydantic rejected.

    pydantic parses the whole text before it validates, so it has already reported invalid JSON. An
    unknown device in the first faulty entry or an earlier one takes precedence.
    """
    places = [
        one["loc"]
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    if any(place[:1] != ("params",) for place in places):
        return FORMAT
    try:
        request = _validate_light(payload)
    except ValidationError:
        return FORMAT
    if request["method"] != METHOD:
        return METHODS
    # A location is: params, the member of the union, and in a list the index of the entry.
    faulty = next((one for place in places for one in place[2:3] if isinstance(one, int)), 0)
    params = request["params"]
    for entry in (params if type(params) is list else [params])[: faulty + 1]:
        code = judge_device(devices, entry)
        if code != OK:
            return code
    return MODEL
