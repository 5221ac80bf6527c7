"""The link to the MQTT broker: which topics, one connection at a time, and delivery at least once.

What a message says is not known here: bytes come from an outbox, and leave it once the broker has acknowledged them.
"""
