"""Values over loss in place of training: one curve for all sizes, and forecasts by way of loss."""
