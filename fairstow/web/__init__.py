"""What programs have in common that clients of LLMs talk to by HTTP."""
