"""geoprobe: how much a frozen image model knows about where on Earth a photo was taken."""

__version__ = "0.1.0"
