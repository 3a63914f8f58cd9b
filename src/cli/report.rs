//! What a finished run prints: as text, and as JSON.
