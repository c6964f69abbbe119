"""Files and folders that appear whole or not at all, arrays in files, and digests."""
