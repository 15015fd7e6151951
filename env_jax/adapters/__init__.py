"""GridWorld25 in the interfaces of other libraries; each module needs the library it names."""
