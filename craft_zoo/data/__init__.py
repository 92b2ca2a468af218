"""Data sets and few-shot tasks: class names, training images and test images.

A data set is opened by name (``digits``, ``folder:PATH``, ``manifest:FILE``, ``hf:NAME``), and a
task is drawn from it by shots and seed. The same arguments always give the same images in the same
order.

- :func:`load_dataset`, :func:`dataset_names`, :func:`register_dataset`: data sets by name;
  :class:`DatasetSpec`: settings for opening and drawing; :class:`OpenedDatasets`: opens each once
- :class:`Dataset`, :class:`Task`, :class:`LabelledImages`: their types; :func:`part_of`: the base
  or new classes of a data set
- :func:`few_shot`: draws a task; :func:`fingerprint`: hash of a data set's content
- :func:`open_image`, :class:`DerivedImage`: an image from a path, a PIL image, an array, or
  another image; :func:`content_key`: hash of its appearance; :func:`find_broken`: images that
  cannot be opened
- :func:`dead_leaves`: drawn images of nothing
- :func:`list_images`: the images at paths of files and folders
- :func:`published_datasets`, :class:`Published`: the published data sets;
  :func:`check_datasets`, :class:`Finding`: which of them are present and complete
- :func:`read_classnames`, :func:`readable`: words for class folders
"""

from craft_zoo.data.broken import find_broken
from craft_zoo.data.classnames import read_classnames, readable
from craft_zoo.data.dead_leaves import dead_leaves
from craft_zoo.data.fingerprint import fingerprint
from craft_zoo.data.image_files import list_images
from craft_zoo.data.images import (
    BrokenImageError,
    DerivedImage,
    ImageSource,
    content_key,
    open_image,
)
from craft_zoo.data.load import (
    DatasetSpec,
    OpenedDatasets,
    dataset_names,
    load_dataset,
    part_of,
    register_dataset,
    split_part,
)
from craft_zoo.data.published import Finding, Published, check_datasets, published_datasets
from craft_zoo.data.sampling import Fewer, Sampling, few_shot
from craft_zoo.data.task import Dataset, LabelledImages, Task

__all__ = [
    "BrokenImageError",
    "Dataset",
    "DatasetSpec",
    "DerivedImage",
    "Fewer",
    "Finding",
    "ImageSource",
    "LabelledImages",
    "OpenedDatasets",
    "Published",
    "Sampling",
    "Task",
    "check_datasets",
    "content_key",
    "dataset_names",
    "dead_leaves",
    "few_shot",
    "find_broken",
    "fingerprint",
    "list_images",
    "load_dataset",
    "open_image",
    "part_of",
    "published_datasets",
    "read_classnames",
    "readable",
    "register_dataset",
    "split_part",
]
