"""From predictions to a report that waits for the broker: windows, latency, the message, the spool.

`window` and `latency` sum up what one span of time saw, `message` writes it down field by field, `spool` keeps it until
the broker has it. Sending is `messaging`'s.
"""
