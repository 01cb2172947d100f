"""The way from and to a broker: `base` says what a connection is, `aiomqtt` makes one."""
