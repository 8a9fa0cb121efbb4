"""What people should know of: alerts, when they are raised and when they are over. Pure."""
