"""A package of somebody who uses kicc_ml: a part of every kind that a configuration takes."""

__version__ = "0.4"
