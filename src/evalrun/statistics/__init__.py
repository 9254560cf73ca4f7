"""The statistics of a table of results, as frames: nothing here draws, writes or knows where results come from."""
