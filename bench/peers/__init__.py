"""How others decide on a release, as their documents and sources say, each as one small pure class."""
