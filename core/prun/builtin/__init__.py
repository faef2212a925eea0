"""The first and the last tier: plugins like any other."""
