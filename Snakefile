# The entry point for users; the stages are in workflow/. An included default target does not count here,
# so this file has its own.
include: "workflow/Snakefile"


rule everything:
    default_target: True
    input:
        rules.all.input,
