"""Build: three top-level source folders become one import package, ``craft_zoo``."""

from setuptools import find_packages, setup

SOURCES = {
    "craft_zoo": "craft_zoo",
    "craft_zoo.optimizers": "optimizers",
    "craft_zoo.benchmarks": "benchmarks",
}


def packages() -> list[str]:
    """Names of all packages under the three folders, sub-packages included."""
    names = []
    for package, folder in SOURCES.items():
        names.append(package)
        names += [f"{package}.{sub}" for sub in find_packages(folder)]
    return names


setup(packages=packages(), package_dir=SOURCES)
