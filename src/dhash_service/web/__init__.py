"""The service's pages: what people see in a browser. Everything else speaks JSON (see `api`)."""
