"""The history of all runs as a page: served to one machine, or as one file."""
