"""The field's data sets by name, in the layouts in which they were published.

All lie in folders of their own under one data root, as CoOp, CraFT, BlackVIP and ZIP want them;
``docs/datasets.md`` shows how. Importing this package registers every one.

- :func:`published_datasets`, :class:`Published`, :class:`Sizes`: what there is, without the data
- :func:`check_datasets`, :class:`Finding`: what lies under a data root, and whether it is whole
"""

from craft_zoo.data.published import loaders  # noqa: F401, registers the data sets
from craft_zoo.data.published.catalogue import Published, Sizes, published_datasets
from craft_zoo.data.published.check import Finding, check_datasets

__all__ = ["Finding", "Published", "Sizes", "check_datasets", "published_datasets"]
