"""`rudp bench`: throughput and latency between two machines, over rudp or the kernel's TCP."""
