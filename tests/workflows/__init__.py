"""Tests of what runs at GitHub: workflows, templates of workflows, and the action."""
