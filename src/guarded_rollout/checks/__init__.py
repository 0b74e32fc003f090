"""Questions asked of a release, a migration or the machine before something is trusted to them."""
