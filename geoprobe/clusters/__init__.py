"""Localizability clusters: an embedding, k-means, names, and as many images from each where that is asked for."""
