"""Arrays in, arrays out: thermal gain, palettes, overlays. Knows no messages, files or engines."""
