"""The demonstration: photos that ship with the package, queries in many languages, a page to look at."""
