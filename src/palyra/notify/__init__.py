"""Messages to people: signed webhooks and Apprise targets, delivered from the outbox."""
