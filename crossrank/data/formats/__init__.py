"""File formats: text in any encoding, tables, JSON lines and Parquet, and the column names of other tools."""
