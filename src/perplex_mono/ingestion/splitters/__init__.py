"""The ways to cut a page, one a module; `ingestion.chunking` chooses among them."""
