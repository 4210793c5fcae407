"""Which models there are, how they are loaded, and where in them the residual stream is."""
