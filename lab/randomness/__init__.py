"""The randomness laboratory: SP 800-22 over many sequences, and raw dumps for other batteries."""
