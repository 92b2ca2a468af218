"""The report: a grid's results as one page that needs nothing else, and as parts for a paper.

- :func:`write_report`: ``report.html``, ``report.md``, ``figures/`` (PNG, SVG, PDF) and
  ``tables/`` (LaTeX, CSV)
"""

from craft_zoo.benchmarks.report.page import write_report

__all__ = ["write_report"]
