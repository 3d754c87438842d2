"""The report of a sweep: tables, figures and text, as Markdown and HTML."""
