"""Who may ask, how fast, and what it costs them: API keys, rates and prepaid balances."""
