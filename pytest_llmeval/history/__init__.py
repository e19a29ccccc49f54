"""The history of all runs as tables that any BI tool reads, and their export."""
