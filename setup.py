"""Package metadata of vim_tf.

`pip install -e .` installs the core with pip's resolver. The TFX pipelines aren't an extra: TFX 1.21 pins native parts
that need glibc 2.39 and a tensorflow-hub that doesn't import on TensorFlow 2.21, so pip's resolver refuses the set that
works. It can only be installed from requirements.lock, as `make demo` and `make test` do:

    pip install --no-deps --require-hashes -r requirements.lock
    pip install --no-deps --no-build-isolation -e .
"""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).resolve().parent

INSTALL_REQUIRES = [
    "absl-py>=2.1",
    "importlib-resources>=6",  # tensorflow-datasets imports it for imagenet2012 and doesn't declare it
    # For the drawings of the source `avatars`: the composer and the styles; resvg-py below renders them.
    "dicebear-core>=10.7,<11",
    "dicebear-styles>=10.6,<11",
    "fonttools>=4.40",
    "h5py>=3.10",
    # We override parts of Keras' trainer that a minor release may change.
    "keras>=3.15.1,<3.16",
    "jinja2>=3.1",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "pillow>=10.1",
    "resvg-py>=0.5,<0.6",
    "scikit-learn>=1.5",
    "scipy>=1.11",
    "setuptools<82",  # later ones lack pkg_resources, which tensorflow-hub imports
    "tensorboard>=2.20",
    "tensorflow>=2.21,<2.22",
    "tensorflow-datasets>=4.9.10,<5",
    "tensorflow-gan==2.1.0",  # imported in parts, avoiding those that fail; see vim_tf/losses/tf_gan.py
    "tensorflow-hub>=0.16.1,<0.17",
    "tensorflow-probability>=0.25",
    "tf-keras>=2.21,<2.22",  # tensorflow-hub and tensorflow-probability are written for Keras 2
]


def read_version():
    """Version in vim_tf/__init__.py, read without importing the package."""
    text = (HERE / "vim_tf" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE).group(1)


def read_readme():
    """README.md, or an empty string if only the packaging files were copied."""
    path = HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="vim_tf",
    version=read_version(),
    description="Vector-quantized Image Modeling (ViT-VQGAN and VIM) with TensorFlow, Keras and TFX",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["vim_tf", "vim_tf.*", "pipelines", "pipelines.*"]),
    package_data={"vim_tf.evaluation.report": ["style.css", "templates/*.html"]},
    # The native parts of the pipelines that load on glibc 2.36 have wheels up to Python 3.11.
    python_requires=">=3.11,<3.12",
    install_requires=INSTALL_REQUIRES,
    extras_require={
        # Encoding on many machines, without the pipelines.
        "beam": ["apache-beam>=2.77,<3"],
        # TensorFlow on an NVIDIA GPU; `make setup-cuda` installs the same from requirements/cuda.lock.
        "cuda": ["tensorflow[and-cuda]>=2.21,<2.22"],
        # A runner for Beam that starts offline; not in a lock, since nothing else needs it.
        "dask": ["apache-beam>=2.77,<3", "dask[distributed]>=2024.4"],
        # Reads other projects' checkpoints; large, and not needed otherwise.
        "import_weights": ["torch>=2.6"],
        "parquet": ["pyarrow>=15"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
