"""From a source of geotagged images to a balanced image store."""
