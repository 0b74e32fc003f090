"""Configuration files as typed, frozen values."""
