"""The service on brokers of several makers: what each must do, and what each cannot do.

    servers.py            Mosquitto, NATS, HiveMQ CE: how each is started, and what it lacks
    test_conformance.py   one short suite for all of them
    test_limits.py        what they do beyond their limits, as docs/brokers.md says
    hivemq/               what Maven and Java need to run HiveMQ CE in a process of its own

`make test` runs them on NATS. The others have the marker `brokers` (make brokers): HiveMQ CE takes
seconds to start, and Maven brings it; Mosquitto is what the tests in tests/e2e run on.
"""
