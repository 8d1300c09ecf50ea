"""A classifier of scikit-learn that is smoothed: any of its classifiers, trained and asked under noise."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from rddrs.certification import Bound, Certificate, Smoothed, Terms
from rddrs.noise import Isotropic


class Votes:
    """The answers of a fitted classifier as logits: 1 at the class that it answers."""

    def __init__(self, estimator: Any, classes: int) -> None:
        self.estimator, self.classes = estimator, classes

    def __call__(self, inputs: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        found = torch.from_numpy(np.asarray(self.estimator.predict(inputs.cpu().numpy()), dtype=np.int64))
        return torch.nn.functional.one_hot(found, self.classes).to(inputs)


class SmoothedClassifier(ClassifierMixin, BaseEstimator):
    """`estimator` (LogisticRegression unless given), trained on `copies` noisy copies of every input, then smoothed.

    The noise is Gaussian of standard deviation `sigma`, in the units of the features. `predict` answers the class of
    the most of `samples` draws, `predict_proba` the shares of the classes, `certify` the certificate of every row.
    Draws depend on `random_state` and on the row alone; with None they are fresh.
    """

    def __init__(
        self,
        estimator: Any = None,
        sigma: float = 0.25,
        copies: int = 10,
        samples: int = 200,
        random_state: int | None = 0,
    ) -> None:
        self.estimator = estimator
        self.sigma = sigma
        self.copies = copies
        self.samples = samples
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "SmoothedClassifier":
        """Train the estimator under noise; raises ValueError where there is one class alone."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class alone, {self.classes_[0]}: at least two classes are needed")
        if self.estimator is not None and not is_classifier(self.estimator):
            raise ValueError(f"estimator={self.estimator!r} is no classifier: its answers are no classes")
        scale = Isotropic(self.sigma, X.shape[1])
        source = check_random_state(self.random_state)
        inputs = np.repeat(X, self.copies, axis=0)
        estimator: Any = clone(LogisticRegression() if self.estimator is None else self.estimator)
        self.estimator_ = estimator.fit(
            inputs + scale.sigma * source.normal(size=inputs.shape), labels.repeat(self.copies)
        )
        self.smoothed_ = Smoothed(Votes(self.estimator_, len(self.classes_)), scale)
        return self

    def predict(self, X: Any) -> ndarray:
        """The class that is answered most often at each row."""
        places = self.predict_proba(X).argmax(axis=1)
        return self.classes_[places]

    def predict_proba(self, X: Any) -> Float[ndarray, "n k"]:
        """The share of the draws at which each class is answered."""
        rows = self._rows(X)
        return self.smoothed_.frequencies(rows, self.samples, self.random_state).numpy()

    def abstains(self, X: Any, alpha: float = 1e-3) -> ndarray:
        """Where the draws cannot tell the most probable class at confidence 1 - alpha."""
        rows = self._rows(X)
        return self.smoothed_.predict(rows, self.samples, alpha, self.random_state).numpy() < 0

    def certify(
        self,
        X: Any,
        *,
        samples: int = Terms.samples,
        selection_samples: int = Terms.selection_samples,
        alpha: float = Terms.alpha,
        bound: Bound = Terms.bound,
        target_radius: float | None = Terms.target_radius,
        seed: int = Terms.seed,
        index: int = 0,
        batch: int = 256,
        workers: int = 1,
    ) -> list[Certificate]:
        """The certificate of every row; `prediction` is the place of the class in `classes_`, -1 for an abstention.

        Arguments and errors as of `rddrs.certify`; `index` is that of the first row.
        """
        return self.smoothed_.certify(
            list(self._rows(X)),
            samples=samples,
            selection_samples=selection_samples,
            alpha=alpha,
            bound=bound,
            target_radius=target_radius,
            seed=seed,
            index=index,
            batch=batch,
            workers=workers,
        )

    def _rows(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return torch.from_numpy(validate_data(self, X, dtype=np.float64, reset=False))
