"""What a finished training leaves: model card, figures, plots and the page that shows them."""
