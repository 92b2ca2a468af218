"""scikit-learn estimators over images: a classifier that adapts a model, and a logit transformer.

They work in pipelines and grid searches, on lists or arrays of paths, PIL images or pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, load_vlm
from craft_zoo.blackbox.base import check_given
from craft_zoo.counts import counted
from craft_zoo.craft import CraftConfig
from craft_zoo.data import ImageSource, LabelledImages, Task
from craft_zoo.data.classnames import says_nothing
from craft_zoo.data.images import as_images
from craft_zoo.data.labels import as_label
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.mini import NAME
from craft_zoo.solution import Solution
from craft_zoo.tuning import tune


class _OnImages(BaseEstimator):
    """Base class of the estimators: a model by name, and images as samples."""

    model: str | VLM
    pretrained: str | None

    def _vlm(self) -> VLM:
        if isinstance(self.model, VLM):
            return self.model
        return _opened(self.model, self.pretrained)

    def _images(self, images: Any) -> list[ImageSource]:
        """The samples as a list; an array (N, H, W) is N grey images.

        Raises:
            CraftZooError: see :func:`craft_zoo.data.images.as_images`.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[2] not in (3, 4):
            images = list(images)
        return as_images(images)

    def __sklearn_clone__(self) -> Any:
        # scikit-learn's clone would copy an opened model with all its weights.
        without = copy(self).set_params(model=NAME)
        return super(_OnImages, without).__sklearn_clone__().set_params(model=self.model)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = tags.input_tags.string = True
        tags.no_validation = True
        return tags


class CraftClassifier(ClassifierMixin, _OnImages):
    """Classifier that adapts a model to labelled images, by :func:`craft_zoo.tune`::

        classifier = CraftClassifier(method="refine").fit(paths, labels)
        classifier.predict(["new.jpg"])

    Args:
        model: name of a model, see :func:`craft_zoo.load_vlm`, which is opened once for all
            estimators; or a model, which clones share.
        pretrained: tag or path of the weights.
        method: see :func:`craft_zoo.methods.method_names`.
        optimizer: see :func:`craft_zoo.optimizers.create`; None: the method's default.
        budget: maximum number of queries; None: 8,000, or 500 for a model that bills.
        classnames: words for the classes: a mapping from labels, as a Series with the labels as its
            index is too, or a sequence in the order of ``classes_``; None: the labels themselves.
        config: settings of the method.
        seed: seed of all random draws.

    Attributes:
        classes_: (C,) the sorted labels.
        adapter_: the :class:`~craft_zoo.Adapter`.
        queries_: number of queries that were made.
    """

    def __init__(
        self,
        model: str | VLM = NAME,
        *,
        pretrained: str | None = None,
        method: str = "craft",
        optimizer: str | None = None,
        budget: int | None = None,
        classnames: Mapping[Any, str] | Sequence[str] | None = None,
        config: CraftConfig | None = None,
        seed: int = 1,
    ) -> None:
        self.model = model
        self.pretrained = pretrained
        self.method = method
        self.optimizer = optimizer
        self.budget = budget
        self.classnames = classnames
        self.config = config
        self.seed = seed

    def fit(
        self,
        X: Any,  # noqa: N803, scikit-learn's name
        y: Any,
        groups: Any = None,
    ) -> CraftClassifier:
        """Adapt the model to N images with N labels.

        Args:
            X: images.
            y: labels.
            groups: N groups of related images, as of one patient or object, which are held out
                together, see :class:`craft_zoo.data.LabelledImages`; None: none are related.

        Raises:
            CraftZooError: images, labels, groups or settings are invalid, see the message.
        """
        images = self._images(X)
        if y is None:
            raise CraftZooError("requires y to be passed, but the target y is None: give labels")
        classes, labels = np.unique(_checked(y), return_inverse=True)
        if len(classes) < 2:
            raise CraftZooError("y has 1 class: at least 2 classes are needed")
        shots = LabelledImages(images, labels.astype(np.int64), groups)
        nothing = shots.take(np.zeros(0, np.int64))
        tuned = tune(
            self._vlm(),
            Task("images", self._names(classes), shots, nothing),
            method=self.method,
            optimizer=self.optimizer,
            budget=self.budget,
            seed=self.seed,
            config=self.config,
        )
        # Together: a fit that failed must not leave its labels beside an earlier fit's adapter.
        self.classes_, self.adapter_, self.queries_ = classes, tuned.adapter, tuned.meter.queries
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """(N, C) float64 probabilities of the classes, in the order of ``classes_``."""
        check_is_fitted(self)
        found = self.adapter_.predict(self._vlm(), self._images(X)).astype(np.float64)
        return found / found.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """(N,) most probable labels.

        Warns of images that a service refused to answer about: all their classes are equally
        probable, and the label is the first.
        """
        probabilities = self.predict_proba(X)
        undecided = (probabilities == probabilities[:, :1]).all(axis=1)
        if undecided.any() and len(self.classes_) > 1:
            warnings.warn(
                f"of {undecided.sum():,} of {counted(len(undecided), 'image')}, the first at place "
                f"{undecided.argmax()}, all classes are equally probable, as where a service "
                f"refuses to answer, and the label is the first class: find them by predict_proba",
                CraftZooWarning,
                stacklevel=2,
            )
        return self.classes_[probabilities.argmax(axis=1)]

    def _names(self, classes: np.ndarray) -> tuple[str, ...]:
        names, labels = self.classnames, classes.tolist()
        if names is None:
            words = tuple(as_label(label, "y") for label in labels)
            if meaningless := [one for one in words if says_nothing(one)]:
                warnings.warn(
                    f"the label {meaningless[0]!r} says nothing of what its images show, and the "
                    f"model is asked about it as a class name: give words with classnames (as a "
                    f"list where a meta-estimator numbers the labels, as VotingClassifier does)",
                    CraftZooWarning,
                    stacklevel=3,
                )
            return words
        by_index: dict[Any, str] = getattr(names, "to_dict", dict)()  # of a pandas Series
        if by_index.keys() >= set(labels):
            names = by_index
        if isinstance(names, Mapping):
            if absent := [label for label in labels if label not in names]:
                raise CraftZooError(
                    f"classnames has no words for the label {absent[0]!r}: add them, or give a "
                    f"list in the order of the sorted labels where a meta-estimator numbers them, "
                    f"as VotingClassifier does"
                )
            names = [names[label] for label in labels]
        check_given(names, "class names")
        if len(names) != len(labels):
            raise CraftZooError(
                f"classnames has {len(names)} names and y {len(labels)} classes: give one "
                f"a class, in the order of the sorted labels"
            )
        return tuple(names)


def _checked(y: Any) -> np.ndarray:
    """The labels (N,), all of one type.

    Raises:
        CraftZooError: labels are missing, of several types or bytes, or not one for each image.
    """
    each = np.asarray(y, dtype=object)
    if each.ndim == 2 and each.shape[1] > 1:
        raise CraftZooError(
            f"y should be a 1d array, got an array of shape {each.shape}: give one label for each "
            f"image, as y.argmax(axis=1) of one-hot labels"
        )
    labels = each.ravel().tolist()
    if any(isinstance(label, bytes) for label in labels):
        raise CraftZooError("y has labels of type bytes: convert them with label.decode()")
    if not all(as_label(label, "y") for label in labels):
        raise CraftZooError("y has missing labels: leave out the images without a label")
    if len({isinstance(label, str) for label in labels}) > 1:  # NumPy would make texts of all
        raise CraftZooError("y has labels of several types: give labels of one type")
    given = column_or_1d(y, warn=True)
    check_classification_targets(given)
    return given


class LogitTransformer(TransformerMixin, _OnImages):
    """Transformer from images to a model's logits of class names, zero-shot or adapted::

        logits = LogitTransformer(classnames=["cat", "dog"])
        make_pipeline(logits, LogisticRegression()).fit(paths, labels)

    Args:
        classnames: C class names of the zero-shot logits.
        adapter: an adapter or its file, for adapted logits, in place of class names.
        model: as of :class:`CraftClassifier`; for an adapter the one that it was made for.
        pretrained: tag or path of the weights.

    Attributes:
        adapter_: the :class:`~craft_zoo.Adapter`, without a refiner for zero-shot logits.
    """

    def __init__(
        self,
        classnames: Sequence[str] | None = None,
        *,
        adapter: Adapter | str | Path | None = None,
        model: str | VLM = NAME,
        pretrained: str | None = None,
    ) -> None:
        self.classnames = classnames
        self.adapter = adapter
        self.model = model
        self.pretrained = pretrained

    def fit(self, X: Any = None, y: Any = None) -> LogitTransformer:  # noqa: N803
        """Open the model on the class names; nothing is learnt from the images.

        Raises:
            CraftZooError: not exactly one of class names and adapter is given.
        """
        if (self.classnames is None) == (self.adapter is None):
            raise CraftZooError("give either classnames or an adapter")
        if self.classnames is not None:
            box = self._vlm().classifier(self.classnames)
            self.adapter_ = Adapter.of(Solution(box.initial_prompt), self._vlm(), box)
        elif isinstance(self.adapter, Adapter):
            self.adapter_ = self.adapter
        else:
            assert self.adapter is not None
            self.adapter_ = Adapter.load(self.adapter)
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """(N, C) float32 logits of N images."""
        check_is_fitted(self)
        vlm = self._vlm()
        asked = self.adapter_.ask(vlm, self._images(X))
        if self.classnames is not None:  # pickled, it reads the zeros of rounded answers alike
            self.adapter_.decimals = vlm.decimals
        return self.adapter_.solution.refine(*asked)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """(C,) the class names, as names of the columns."""
        check_is_fitted(self)
        return np.array(self.adapter_.classnames, dtype=object)


@lru_cache(maxsize=1)
def _opened(model: str, pretrained: str | None) -> VLM:
    """The model, opened once for all clones of an estimator."""
    return load_vlm(model, pretrained)
