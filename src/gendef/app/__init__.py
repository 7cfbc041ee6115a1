"""The web app: one Gradio page on which clips are generated, edited, tracked and fitted."""
