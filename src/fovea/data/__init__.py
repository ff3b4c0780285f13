"""From files to pixels: what the data is (the manifest), how it is split, decoded, cached and augmented."""
