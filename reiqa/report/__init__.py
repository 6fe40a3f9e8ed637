"""Report the results of a run as tables, charts and one static page."""
