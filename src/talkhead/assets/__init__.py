"""Files that travel with the package: the face models, one portrait and one speech."""
