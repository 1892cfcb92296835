"""Board tops, synthesis and reports."""

BOARDS = {
    "ulx3s-85f": "penstock.boards.ulx3s_85f",
    "ulx3s-25f": "penstock.boards.ulx3s_25f",
    "icebreaker": "penstock.boards.icebreaker",
    "tang-nano-9k": "penstock.boards.tang_nano_9k",
}
"""Board -> the module that describes it, as BOARD."""
