"""GridWorld25 in the forms that other libraries expect; each module needs the library it is named after."""
