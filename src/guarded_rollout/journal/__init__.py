"""The journal: its values, and the SQLite file that keeps them."""
