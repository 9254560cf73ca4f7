"""Words of texts: their surprisal from that of tokens."""
