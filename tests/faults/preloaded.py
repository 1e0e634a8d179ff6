"""Imported once by the server that commands are forked from: everything that takes seconds to import."""

import pkgutil

import monai
import pytorch_lightning
import torch

import kicc_ml

#: Modules that are programs of their own, or need what is not installed, are passed over.
for _module in pkgutil.walk_packages(kicc_ml.__path__, "kicc_ml.", onerror=lambda _: None):
    if not _module.name.endswith("__main__"):
        try:
            __import__(_module.name)
        except ImportError:
            continue

LIBRARIES = (monai, pytorch_lightning, torch)
