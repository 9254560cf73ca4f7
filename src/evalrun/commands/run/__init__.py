"""Running a sweep: in this process or through a launcher, from the first check to the table at the end."""
