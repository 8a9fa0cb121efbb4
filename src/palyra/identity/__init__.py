"""Who may do what: keys, roles, allowed models, and the rule that no key gives more than it has. Pure."""
