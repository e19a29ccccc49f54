"""What docs/statistics.md shows: measured by `measure`, drawn by `draw`.

python -m docs.figures.measure    simulate again, some minutes; writes numbers.json
python -m docs.figures.draw       pictures and tables from numbers.json, at once

The same for docs/monitoring.md: `drift` measures, `draw_drift` draws.
"""
