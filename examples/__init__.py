"""Systems that users build, each with one command on the embedded stack."""
