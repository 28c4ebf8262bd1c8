"""The report on a trained model: intervals, slices, fairness, comparison, explanation, and the page that shows them."""
