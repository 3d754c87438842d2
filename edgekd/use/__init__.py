"""A trained network put to use: find it, let it classify pictures, write it for other programs."""
