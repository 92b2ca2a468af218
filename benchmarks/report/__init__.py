"""Report of a grid's results: a self-contained HTML page, and figures and tables for a paper.

- :func:`write_report`: ``report.html``, ``report.md``, ``figures/`` (PNG, SVG, PDF) and
  ``tables/`` (LaTeX, CSV)
"""

from craft_zoo.benchmarks.report.page import write_report

__all__ = ["write_report"]
