"""From a trained model to judged predictions: predicting, writing predictions, figures and the report."""
