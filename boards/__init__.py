"""Board tops, synthesis and reports."""
