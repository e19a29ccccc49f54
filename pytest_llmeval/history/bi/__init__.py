"""The history tables for Tableau and Power BI: files that name source and fields."""
