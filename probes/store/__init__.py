"""The one store: tables, results, rollups, retention, migrations."""
