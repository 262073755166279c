"""Mails that recur for ever: by a schedule for everybody, or by a workflow for each subscriber."""
