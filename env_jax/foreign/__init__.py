"""Third-party environments in our contract, each by a module of its library's name."""
