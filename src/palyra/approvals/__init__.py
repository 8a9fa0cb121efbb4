"""A person lets a call go over a budget: the request, its decision, and the grant that comes of it. Pure."""
