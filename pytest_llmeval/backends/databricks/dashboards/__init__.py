"""The AI/BI (Lakeview) dashboard over the history tables of a workspace."""
