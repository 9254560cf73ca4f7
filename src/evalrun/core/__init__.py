"""What every part stands on: records, text, secrets, whole files, hashes. Imports nothing of evalrun's but itself."""
