"""Images: references, documents, the content store, archives."""
