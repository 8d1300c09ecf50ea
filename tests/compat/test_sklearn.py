"""A smoothed classifier of scikit-learn is one of scikit-learn's."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from rddrs.compat import SmoothedClassifier


@pytest.mark.filterwarnings("ignore")
def test_check_estimator_passes(shapes_unchecked):
    check_estimator(SmoothedClassifier(samples=50))


def test_pipelines_clones_and_pickles():
    inputs, labels = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[labels]
    forest = RandomForestClassifier(n_estimators=10, random_state=0)
    smoothed = SmoothedClassifier(forest, sigma=0.3, copies=3, samples=100)
    pipeline = make_pipeline(StandardScaler(), clone(smoothed))
    assert cross_val_score(pipeline, inputs[::2], names[::2], cv=3).mean() > 0.8
    smoothed.fit(inputs, names)
    again = pickle.loads(pickle.dumps(smoothed))
    rows = inputs[::30]
    assert (again.predict_proba(rows) == smoothed.predict_proba(rows)).all()
    assert set(smoothed.predict(rows)) <= set(names) and smoothed.abstains(rows).shape == (5,)
    certificates = smoothed.certify(rows[:2], samples=500)
    assert all(smoothed.classes_[it.prediction] == "setosa" and it.ball_radius > 0.1 for it in certificates)
