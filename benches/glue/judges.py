"""Judges of the example product for the glue services: the payload in, the reply out."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    Judge = Callable[[bytes], bytes]

FILTERS: Final = (
    "sys/protocol/integration/measurepoint/post",
    "/sys/protocol/integration/measurepoint/post",
)
METHOD: Final = "integration.measurepoint.post"
ID: Final = re.compile(rb'"id":"([^"]*)"')
OK, MODEL, FORMAT, DEVICE, METHODS = 200, 1204, 1220, 1257, 1260


def settings(file: str) -> tuple[int, frozenset[str]]:
    """The broker's port and the devices, from a settings file."""
    document = tomllib.loads(Path(file).read_text())
    devices = Path(document["catalog"]["path"]) / "devices/protocol.txt"
    return int(document["mqtt"]["url"].rpartition(":")[2]), frozenset(devices.read_text().split())


class Quality(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    value: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
    quality: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0


class Points(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    Power: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] | Quality = 0
    temp: float = 0.0
    branchCurr: list[str] = []  # noqa: N815 - the protocol's name


class Entry(msgspec.Struct, gc=False):
    measurepoints: Points
    deviceKey: str  # noqa: N815 - the protocol's name
    time: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Request(msgspec.Struct, gc=False):
    version: str
    method: str
    params: list[Entry]
    id: str = ""


def msgspec_judge(devices: frozenset[str]) -> Judge:
    decode = msgspec.json.Decoder(Request).decode

    def judge(payload: bytes) -> bytes:
        try:
            request = decode(payload)
        except msgspec.ValidationError as error:
            return fault(payload, MODEL, str(error))
        except msgspec.DecodeError as error:
            return fault(payload, FORMAT, str(error))
        if request.method != METHOD:
            return fault(payload, METHODS, request.method)
        for entry in request.params:
            if entry.deviceKey not in devices:
                return fault(payload, DEVICE, entry.deviceKey)
        return b'{"id":"%b","code":200,"data":{}}' % request.id.encode()

    return judge


class PydanticQuality(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    value: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    quality: Annotated[int, Field(ge=0, le=9)] = 0


class PydanticPoints(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    Power: Annotated[int, Field(ge=-(2**31), lt=2**31)] | PydanticQuality = 0
    temp: float = 0.0
    branchCurr: list[str] = []  # noqa: N815 - the protocol's name


class PydanticEntry(BaseModel):
    model_config = ConfigDict(strict=True)
    measurepoints: PydanticPoints
    deviceKey: str  # noqa: N815 - the protocol's name
    time: Annotated[int, Field(ge=0)] | None = None


class PydanticRequest(BaseModel):
    model_config = ConfigDict(strict=True)
    version: str
    method: str
    params: list[PydanticEntry]
    id: str = ""


def pydantic_judge(devices: frozenset[str]) -> Judge:
    decode = TypeAdapter(PydanticRequest).validate_json

    def judge(payload: bytes) -> bytes:
        try:
            request = decode(payload)
        except ValidationError as error:
            broken = error.errors()[0]["type"] == "json_invalid"
            return fault(payload, FORMAT if broken else MODEL, "invalid")
        if request.method != METHOD:
            return fault(payload, METHODS, request.method)
        for entry in request.params:
            if entry.deviceKey not in devices:
                return fault(payload, DEVICE, entry.deviceKey)
        return b'{"id":"%b","code":200,"data":{}}' % request.id.encode()

    return judge


def fault(payload: bytes, code: int, message: str) -> bytes:
    found = ID.search(payload)
    reply: dict[str, Any] = {"id": found[1].decode() if found else "", "code": code}
    return msgspec.json.encode(reply | {"message": message})


JUDGES: Final = {"msgspec": msgspec_judge, "pydantic": pydantic_judge}
