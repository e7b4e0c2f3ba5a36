"""Packaging: ``noisy_gru/`` holds a link to each room at the top of the tree, so they are its subpackages."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
# Files that are not Python but belong to a room: curated schemas, manifests, ...
DATA = ("*.pbtxt", "*.yaml", "*.json", "*.md", "*.j2", "*.js", "Dockerfile", "py.typed")

EXTRAS = ("grpc", "pipeline", "kubeflow", "onnx", "excel", "sql", "tracking", "kafka", "wandb", "statsforecast")


def requirements(name: str) -> list[str]:
    """What a file of requirements/ asks for, with the files that it includes."""
    found: list[str] = []
    for line in (HERE / "requirements" / f"{name}.in").read_text().splitlines():
        if line.startswith("-r "):
            found += requirements(line.removeprefix("-r ").removesuffix(".in"))
        elif line and not line.startswith("#"):
            found.append(line)
    return found


extras = {name: requirements(name) for name in EXTRAS}
# What few use, with large packages of its own: not among those that the lock and the image hold.
ALONE = ("wandb", "statsforecast")
everything = sorted({line for name, lines in extras.items() if name not in ALONE for line in lines})

setup(
    name="noisy-gru-tfx",
    version="0.2.0",
    description="A production TFX pipeline for sequence models built on the noisy GRU",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    # kubeflow/ has no __init__.py, so that the package `kubeflow` of PyPI keeps its name; see docs/decisions.
    packages=find_namespace_packages(
        include=["noisy_gru", "noisy_gru.*"], exclude=["*.__pycache__", "*.__pycache__.*"]
    ),
    package_data={"": [f"**/{name}" for name in DATA]},
    install_requires=requirements("base"),
    extras_require={**extras, "all": everything},
    entry_points={
        "console_scripts": ["noisy-gru = noisy_gru.pipeline.cli.main:main"],
        # Groups of commands, by which rooms that pipeline must not import get into the command line.
        "noisy_gru.commands": ["kubeflow = noisy_gru.kubeflow.commands:app"],
    },
)
