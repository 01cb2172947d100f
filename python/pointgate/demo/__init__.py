"""`pointgate demo`: a local broker, simulated senders, the service, and a live view.

    run.py       starts everything, shows it, stops everything
    broker.py    a Mosquitto on loopback
    plants.py    the requests of simulated plants, valid and faulty
    fleet.py     posts them, and receives the replies
    view.py      reads the service's /metrics, and shows them
    stored.py    reads the Parquet files when the service has ended; chart.py draws a series
    catalog/     the sample catalog, copied to a folder where it can be edited

The service is the real one, in its own process. It does not use this package.
"""
