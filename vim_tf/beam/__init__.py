"""Ingestion and encoding as Beam jobs: the only library package that imports Beam; it doesn't depend on TFX."""
