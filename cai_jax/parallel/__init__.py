"""Placement of steps: one device, a mesh, or pmap, on one host or several."""
