"""Images that clients name by URL: which may be fetched, from which addresses, and how much of them."""
