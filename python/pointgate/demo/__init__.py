"""`pointgate demo`: a broker, plants that post, the service and a live table, on this machine.

    session.py   starts everything, stops everything
    broker.py    a Mosquitto, or the broker of the `iotcore` package, on loopback
    plants.py    what plants measure, and how it goes wrong
    fleet.py     posts it, and follows the replies
    figures.py   reads the service's own /metrics
    view.py      shows it, as a live table or as lines
    catalog/     the sample catalog, copied to a folder that may be edited meanwhile

The service is the real one, in a process of its own. Nothing here is used by it.
"""
