"""Networks that try to tell a keystream from chance, which no keystream was trained against."""
