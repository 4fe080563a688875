"""Where steps run: one device, a mesh, or pmap."""
