"""One HTML file in which scores, layer curves and predictions are looked through."""
