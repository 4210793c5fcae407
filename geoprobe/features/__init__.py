"""Features: every layer of a model on every image of a data set, in one forward pass, and the files they lie in."""
