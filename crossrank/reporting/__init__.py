"""Reports: their pages, tables and figures, in one look."""
