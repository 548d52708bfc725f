"""The products, their groups, and which groups are for choosing and which for reporting."""

GROUPS = {
    "cookie": ("cookie",),
    "hazelnut": ("hazelnut_toy",),
    "magnetic tile": ("magnetic_tile",),
    "ball screw": ("ball_screw",),
    "leather": ("leather_plain",),
    "bottle": ("bottle",),
    "screw": ("screw",),
    "solar cells": ("solar_cell_mono4", "solar_cell_poly3", "solar_cell_poly4"),
    "bracket and nut": ("bracket_white", "metal_nut"),
    "circuit board": ("bare_pcb",),
    "capsule": ("capsule",),
    "pavements": ("asphalt_cfd", "asphalt_pavement", "concrete_pavement"),
}
CHOOSING = ("cookie", "hazelnut", "magnetic tile", "ball screw", "leather")
"""Groups that recipes are chosen by; the other seven are reported. Fixed before any run."""
REPORTED = tuple(group for group in GROUPS if group not in CHOOSING)

PRODUCTS = {
    name: {"bottle": "mvtec", "cookie": "labelled", "hazelnut_toy": "labelled",
           "magnetic_tile": "labelled"}.get(name, "products")
    for names in GROUPS.values()
    for name in names
}  # fmt: skip
"""Product to the folder of `data/` that it lies in."""
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}
