"""Credit that is given: redemption codes and sign-up credit."""
