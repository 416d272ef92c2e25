//! The embedded backend: SQLite in one file under one exclusive lock.
