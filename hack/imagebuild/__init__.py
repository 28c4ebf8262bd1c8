"""Container images from packages alone: no registry, no daemon, the same bytes for the same input.

An image is a list of layers; each layer has a key (the hash of all that it is made of) and lies, once made, in a
content-addressed store outside the tree. `recipes` says what the project's images are made of.
"""
