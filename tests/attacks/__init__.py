"""Networks that were made to deceive whoever looks at their neurons' favourite pictures."""
