"""rudp through NATs: simulated ones in virtual time, the kernel's in network namespaces."""
