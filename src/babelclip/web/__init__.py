"""The page: search in a browser, rendered on the server, with an ES module on top.

Three walks, each from ``app`` through ``middleware``, and each with a queue (``work_queue``) that bounds what it costs:

- a search: ``search_routes``, ``search_request``, ``search_page``, ``templates/search.html``;
- a picture: ``picture_routes``, ``pictures``, ``where_pictures``;
- the playground: ``playground_routes``, ``playground_body``, ``playground``, ``playground_page``,
  ``templates/playground.html``.
"""
