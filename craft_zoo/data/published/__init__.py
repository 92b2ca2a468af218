"""Published benchmark data sets by name, in their published layouts.

Each has its own folder under one data root, as CoOp, CraFT, BlackVIP and ZIP expect;
``docs/datasets.md`` shows the layouts. Importing this package registers all data sets.

- :func:`published_datasets`, :class:`Published`, :class:`Sizes`: descriptions, without the data
- :func:`check_datasets`, :class:`Finding`: data sets under a data root and their completeness
"""

from craft_zoo.data.published import loaders  # noqa: F401, registers the data sets
from craft_zoo.data.published.catalogue import Published, Sizes, published_datasets
from craft_zoo.data.published.check import Finding, check_datasets

__all__ = ["Finding", "Published", "Sizes", "check_datasets", "published_datasets"]
