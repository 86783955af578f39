"""Our own components: the wall, the request path, and panels of text."""
