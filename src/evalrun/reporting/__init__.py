"""What people read: the page, the tables and figures beside it, the sentences."""
