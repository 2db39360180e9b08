"""How fast engines are on this machine: `ssvif bench`. Knows engines as users of them do."""
