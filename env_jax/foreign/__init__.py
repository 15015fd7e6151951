"""Third-party environments in our contract, a module for each library."""
