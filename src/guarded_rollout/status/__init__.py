"""One reading of an environment, for the terminal and the pages."""
