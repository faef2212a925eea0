"""Root file systems: layers, snapshots, safe looks into them."""
