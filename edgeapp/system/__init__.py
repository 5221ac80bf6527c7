"""The machine underneath: backoff, journal, durable files, clocks, the board."""
