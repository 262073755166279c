"""A distributed cron job: a bonus for each of any number of users, once in a period."""
