"""The two products of the corpus: their thing models and their devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Point = dict[str, Any]
"""A point of a model document."""

DEVICES: Final = 10_000

DOUBLES: Final = (
    ("INV.GenActivePW", -500, 4000),
    ("INV.GenReactivePW", -2000, 2000),
    ("INV.ApparentPW", 0, 4500),
    ("INV.PowerFactor", -1, 1),
    ("INV.Frequency", 45, 65),
    ("INV.VoltageA", 0, 1000),
    ("INV.VoltageB", 0, 1000),
    ("INV.VoltageC", 0, 1000),
    ("INV.CurrentA", 0, 3000),
    ("INV.CurrentB", 0, 3000),
    ("INV.CurrentC", 0, 3000),
    ("INV.DCVoltage", 0, 1500),
    ("INV.DCCurrent", -50, 4000),
    ("INV.DCPW", -500, 5000),
    ("INV.Efficiency", 0, 100),
    ("INV.TempCabinet", -40, 120),
    ("INV.TempIGBT1", -40, 180),
    ("INV.TempIGBT2", -40, 180),
    ("INV.TempIGBT3", -40, 180),
    ("INV.InsulationResistance", 0, 20000),
    ("INV.APProduction", 0, 1000000000),
    ("INV.DayProduction", 0, 100000),
    ("MET.Irradiance", 0, 1500),
    ("MET.TempAmbient", -50, 70),
)
WITH_QUALITY: Final = ("INV.GenActivePW", "INV.Frequency", "INV.DCPW", "MET.Irradiance")
INTS: Final = (
    ("INV.StateWord", 0, 65535),
    ("INV.AlarmCode", 0, 9999),
    ("INV.RunHours", 0, 1000000),
    ("INV.StartCount", 0, 1000000),
    ("INV.Setpoint", -100, 100),
    ("COM.SignalStrength", -127, 0),
)
BOOLS: Final = ("INV.GridConnected", "INV.Derated", "COM.Online")
ENUMS: Final = (
    ("INV.State", "INT", ("0", "1", "2", "3", "4", "5", "6", "7")),
    ("INV.Mode", "STRING", ("MPPT", "CV", "STANDBY", "OFF")),
)
STRINGS: Final = (("INV.Message", 128), ("INV.Firmware", 32))
ARRAY_SIZE: Final = 16
STRUCTS: Final[tuple[tuple[str, list[Point]], ...]] = (
    (
        "INV.LastEvent",
        [
            {"identifier": "code", "dataType": "INT", "required": True},
            {
                "identifier": "text",
                "dataType": "STRING",
                "dataDefinition": {"maxLength": 64},
                "required": True,
            },
        ],
    ),
    (
        "MET.Wind",
        [
            {
                "identifier": "speed",
                "dataType": "DOUBLE",
                "minimum": 0,
                "maximum": 75,
                "required": True,
            },
            {"identifier": "direction", "dataType": "DOUBLE", "minimum": 0, "maximum": 360},
        ],
    ),
)


def _model(identifier: str, points: list[Point]) -> dict[str, Any]:
    named = {
        point["identifier"]: {"hasQuality": False, "signalType": "Generic", **point}
        for point in points
    }
    return {
        "modelId": identifier,
        "attributes": {},
        "measurepoints": named,
        "services": {},
        "events": {},
    }


def _branch_currents() -> Point:
    return {
        "identifier": "branchCurr",
        "dataType": "ARRAY",
        "dataDefinition": {"itemType": "STRING"},
    }


def _plant_points() -> list[Point]:
    points: list[Point] = [
        {"identifier": name, "dataType": data_type, "minimum": low, "maximum": high}
        for data_type, group in (("DOUBLE", DOUBLES), ("INT", INTS))
        for name, low, high in group
    ]
    for point in points:
        point["hasQuality"] = point["identifier"] in WITH_QUALITY
        point["exclusiveMinimum"] = point["identifier"] == "INV.InsulationResistance"
    points += [{"identifier": name, "dataType": "BOOL"} for name in BOOLS]
    for name, enum_type, keys in ENUMS:
        definition = {
            "enumType": enum_type,
            "enumDesc": {key: {"defaultValue": key} for key in keys},
        }
        points.append({"identifier": name, "dataType": "ENUM", "dataDefinition": definition})
    for name, length in STRINGS:
        points.append(
            {"identifier": name, "dataType": "STRING", "dataDefinition": {"maxLength": length}}
        )
    array = {"itemType": "DOUBLE", "maxSize": ARRAY_SIZE}
    points.append(
        {
            "identifier": "INV.StringCurrents",
            "dataType": "ARRAY",
            "dataDefinition": array,
            "minimum": -5,
            "maximum": 30,
        }
    )
    points.append(_branch_currents())
    for name, items in STRUCTS:
        points.append(
            {"identifier": name, "dataType": "STRUCT", "dataDefinition": {"items": items}}
        )
    return sorted(points, key=lambda point: str(point["identifier"]))


@dataclass(frozen=True, eq=False)
class Product:
    """A product as in its files; every peer compiles it."""

    key: str
    model: dict[str, Any]
    devices: tuple[str, ...]

    @property
    def topic(self) -> str:
        """The topic of its requests."""
        return f"sys/{self.key}/integration/measurepoint/post"


_DEVICE_KEYS = tuple(f"site{n % 40:02d}-inv{n:05d}" for n in range(DEVICES))
PLANT: Final = Product("plant", _model("plant", _plant_points()), _DEVICE_KEYS)
EXAMPLE: Final = Product(
    "example",
    _model(
        "example",
        [
            {"identifier": "Power", "dataType": "INT", "hasQuality": True},
            {"identifier": "temp", "dataType": "DOUBLE"},
            _branch_currents(),
        ],
    ),
    ("device1", "device2", *_DEVICE_KEYS[2:]),
)
