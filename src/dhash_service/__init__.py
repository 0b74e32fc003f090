"""dhash: fingerprints of images, exact search among them, and a review queue for what is not sure."""
