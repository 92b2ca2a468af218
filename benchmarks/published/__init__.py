"""Accuracies that papers have published, to be shown beside measured ones.

- :func:`published_figures`: all of them; :func:`figures_for`: those of one task
- :data:`SOURCES`: their citations
"""

from craft_zoo.benchmarks.published.reported import SOURCES, figures_for, published_figures

__all__ = ["SOURCES", "figures_for", "published_figures"]
