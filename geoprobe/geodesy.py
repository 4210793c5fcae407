"""Positions on a spherical Earth: distances, projections, uniform draws and blocks.

One sphere is used throughout: the Earth's mean radius, R = 6371.0088 km (IUGG).
"""

import numpy as np

EARTH_RADIUS_KM = 6371.0088


def check_positions(positions, origin="positions"):
    """Refuse coordinates that cannot be degrees of latitude and longitude.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        origin: where they came from, for the message.

    Raises:
        ValueError: a value is missing or out of range; names the first such row.
    """
    positions = np.asarray(positions, dtype=np.float64).reshape(-1, 2)
    latitude, longitude = positions[:, 0], positions[:, 1]
    missing = ~np.isfinite(positions).all(axis=1)
    bad_latitude = ~missing & (np.abs(latitude) > 90)
    bad_longitude = ~missing & (np.abs(longitude) > 180)
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(
            f"{origin}, row {row}: latitude {latitude[row]}, longitude {longitude[row]}: a coordinate is missing. "
            "Give both in degrees or leave the row out."
        )
    if bad_latitude.any():
        row = int(np.argmax(bad_latitude))
        raise ValueError(
            f"{origin}, row {row}: latitude {latitude[row]} is outside [-90, 90] "
            f"(longitude {longitude[row]}). Are the two columns swapped?"
        )
    if bad_longitude.any():
        row = int(np.argmax(bad_longitude))
        raise ValueError(
            f"{origin}, row {row}: longitude {longitude[row]} is outside [-180, 180] (latitude {latitude[row]}). "
            "Subtract 360 from longitudes that are counted from 0 to 360."
        )


def great_circle_km(a, b):
    """Great-circle distance between points on a sphere of the Earth's mean radius.

    Args:
        a, b: latitude and longitude in degrees, shape (..., 2); broadcast against each other.

    Returns:
        Distance in kilometres, shape (...).

    Raises:
        ValueError: a latitude lies outside [-90, 90], or a value is missing; names the first such row.
            Longitudes may wind around: the distance is periodic in them.

    Haversine form (Sinnott 1984), stable for small distances; R = 6371.0088 km (IUGG).
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    for name, points in (("a", a), ("b", b)):
        latitudes = points[..., 0].ravel()
        bad = ~(np.abs(latitudes) <= 90) | ~np.isfinite(points[..., 1].ravel())
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"great_circle_km: {name}, row {row}: latitude {latitudes[row]} is not in [-90, 90] "
                "or its longitude is missing."
            )
    phi_a, phi_b = np.radians(a[..., 0]), np.radians(b[..., 0])
    half_phi = (phi_b - phi_a) / 2
    half_lambda = np.radians(b[..., 1] - a[..., 1]) / 2
    h = np.sin(half_phi) ** 2 + np.cos(phi_a) * np.cos(phi_b) * np.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0, 1)))


def to_sphere(positions):
    """Unit vectors of positions.

    Args:
        positions: latitude and longitude in degrees, shape (..., 2).

    Returns:
        x, y, z, shape (..., 3); x points to (0, 0), z to the north pole.
    """
    phi, lam = np.radians(positions[..., 0]), np.radians(positions[..., 1])
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def from_sphere(vectors):
    """Positions of vectors of any length; the inverse of :func:`to_sphere`.

    Args:
        vectors: x, y, z, shape (..., 3), not zero.

    Returns:
        Latitude and longitude in degrees, shape (..., 2).
    """
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))], axis=-1)


def wrap_longitude(longitude):
    """Longitude in degrees brought into [-180, 180)."""
    wrapped = (np.asarray(longitude, dtype=np.float64) + 180.0) % 360.0 - 180.0
    # just below -180 the remainder rounds up to 360
    return np.where(wrapped >= 180.0, -180.0, wrapped)


def draw_on_sphere(count, generator):
    """Positions uniform on the sphere by area.

    Args:
        count: how many.
        generator: a numpy Generator.

    Returns:
        Latitude and longitude in degrees, shape (count, 2).
    """
    latitude = np.degrees(np.arcsin(generator.uniform(-1, 1, count)))
    return np.stack([latitude, generator.uniform(-180, 180, count)], axis=1)


def azimuthal_positions(centre, x_km, y_km):
    """Positions of points given in a local azimuthal equidistant projection.

    Args:
        centre: latitude and longitude of the projection's centre in degrees, shape (n, 2).
        x_km, y_km: offsets to the east and to the north of the centre in kilometres, shape (m,).

    Returns:
        Latitude and longitude in degrees, shape (n, m, 2), longitude in [-180, 180).

    Inverse of the spherical oblique aspect, Snyder (1987), "Map Projections: A Working Manual",
    equations 20-14 and 20-15; true at the poles and across the antimeridian.
    """
    phi0 = np.radians(centre[:, :1])
    rho = np.hypot(x_km, y_km)[None]
    c = rho / EARTH_RADIUS_KM
    safe_rho = np.where(rho == 0, 1.0, rho)
    sin_phi = np.cos(c) * np.sin(phi0) + np.where(rho == 0, 0.0, y_km[None] * np.sin(c) * np.cos(phi0) / safe_rho)
    lam = np.arctan2(
        x_km[None] * np.sin(c),
        rho * np.cos(phi0) * np.cos(c) - y_km[None] * np.sin(phi0) * np.sin(c),
    )
    latitude = np.degrees(np.arcsin(np.clip(sin_phi, -1, 1)))
    longitude = wrap_longitude(centre[:, 1:] + np.degrees(lam))
    return np.stack(np.broadcast_arrays(latitude, longitude), axis=-1)


def block_of(positions, degrees):
    """Geographic block of each position: bands of latitude cut into cells of about equal area.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        degrees: height of a band, and width of a cell at the band's middle measured along the parallel.

    Returns:
        Integer block numbers, shape (n,); row-major from the south-west, the same for every data set.
    """
    bands = max(1, round(180 / degrees))
    height = 180 / bands
    band = np.clip(((positions[:, 0] + 90) / height).astype(np.int64), 0, bands - 1)
    middles = np.radians(-90 + (np.arange(bands) + 0.5) * height)
    cells = np.maximum(1, np.round(360 * np.cos(middles) / height).astype(np.int64))
    first = np.concatenate([[0], np.cumsum(cells)[:-1]])
    column = ((wrap_longitude(positions[:, 1]) + 180) / 360 * cells[band]).astype(np.int64)
    return first[band] + np.minimum(column, cells[band] - 1)
