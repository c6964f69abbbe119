"""Ingestion and encoding as Beam jobs: the only library package that imports Beam, and it knows nothing of TFX."""
