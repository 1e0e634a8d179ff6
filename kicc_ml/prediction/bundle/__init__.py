"""A trained run as a bundle of MONAI, which is predicted with where this package is not installed."""
