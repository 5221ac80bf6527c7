"""What scripts/bench measures with: the ways of a frame, the daemon, other software, ARM instructions, a picture."""
