"""The page: search in a browser, rendered on the server, with one ES module on top."""
