"""How events flow: Faust, lanes, window, ticks."""
