mod wiring;
