"""From features to positions: folds, ridge regression, metrics."""
