"""From bytes to a picture and its fingerprint."""
