"""What people read of a run: terminal, junit, Markdown and HTML."""
