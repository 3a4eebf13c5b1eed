"""Versions of installed packages."""

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str, otherwise: str = "not installed") -> str:
    """Return the version of a package, where it is installed and not only on the path."""
    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise
