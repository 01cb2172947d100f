"""What a good engineer would write instead of pointgate: some lines around known libraries.

    raw.py       an asyncio.Protocol, the `mqtt5` codec (pip install mqtt5) and msgspec
    aiomqtt_.py  aiomqtt, with msgspec or pydantic
    echo.rs      no glue, but the floor: a native program that answers 200 unread
    benthos/     a pipeline of benthos (Go) with its `json_schema`

Each is a service for the example product of the protocol page: it takes the settings file of
`bench_echo.py`, subscribes, judges, replies at the request's QoS and acknowledges. None stores,
limits, counts or survives a lost connection; messages of faults are short.
"""
