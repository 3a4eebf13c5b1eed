"""How good a registration is: residual shift, folding, seams, verdict."""
