"""Notifications: event → grouped → durable outbox → channels, until delivered or acknowledged."""
