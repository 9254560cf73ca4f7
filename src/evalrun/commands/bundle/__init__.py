"""Results as one folder or zip that another person opens without evalrun, verifies and files."""
