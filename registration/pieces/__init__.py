"""Several pieces of tissue on one slide: found, matched across slides, each registered on its own."""
