"""The load generator of `pointgate bench send`: it posts requests and checks every reply.

    requests.py    requests of a product of the catalog, valid and invalid, each with its code
    values.py      values that a point of a model accepts
    connection.py  the connections to the broker
    generator.py   the run: sending at a rate or within a window, receiving, counting
    outcome.py     what is reported

The service is another process. `_core.MqttLoad` makes the packets and counts the replies.
"""
