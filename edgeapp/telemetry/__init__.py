"""From predictions to reports that wait for the broker: windows, latency, noised counts, the messages, the spool.

Of the device: `window` and `latency` sum up what one span of time saw, `message` writes it down field by field.
Of people: `budget` plans what may be told and `explain` says so, `contributions` bounds what a track may add, `levels`
has the windows, `release` draws the `noise`, `counts_message` writes it down, `drift` judges what was released.
`spool` keeps reports until the broker has them, and the ledger of what was released. Sending is `messaging`'s.
"""
