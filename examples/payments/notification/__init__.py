"""Mails and text messages to users."""
