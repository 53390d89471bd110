"""Parts of the panels that are about one unit: real images, connections, an optimised picture."""
